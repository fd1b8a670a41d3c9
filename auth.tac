"""The server for ``twistd -ny auth.tac``: settings come from the environment, and from the files CONFIG_FILES names.

twistd leaves the working directory off the path, so the folder of this file is put there.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from twisted.application.service import Application

from fxa_auth import tap

options = tap.Options()
options.parseOptions([])
application = Application("fxa-auth")
tap.makeService(options).setServiceParent(application)

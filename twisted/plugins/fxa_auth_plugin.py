"""Makes ``twistd fxa-auth`` known to Twisted; the work is in ``fxa_auth.tap``, imported only when it is wanted."""

from twisted.application.service import ServiceMaker

fxa_auth = ServiceMaker("fxa-auth", "fxa_auth.tap", "The Firefox Accounts authentication server.", "fxa-auth")

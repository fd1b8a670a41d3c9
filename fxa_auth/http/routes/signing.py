"""Routes of identity certificates: /certificate/sign and the documents by which others check one."""

from __future__ import annotations

from fxa_auth.http.models import CertificateSign
from fxa_auth.http.route import HTML_TYPE, Answer, Call, NoParams, Route, json_answer
from fxa_auth.records import TokenKind
from fxa_auth.signing import Signing

_SIGN_IN = "/.well-known/browserid/sign_in.html"
_PROVISION = "/.well-known/browserid/provision.html"


class SigningRoutes:
    """``page`` is HTML in UTF-8, shown at the two addresses that the support document has to name."""

    def __init__(self, signing: Signing, page: bytes) -> None:
        self._signing = signing
        self._page = page

    def table(self) -> list[Route]:
        session = TokenKind.SESSION
        return [
            Route("POST", "/v1/certificate/sign", self.certificate_sign, CertificateSign, session, payload=True),
            Route("GET", "/.well-known/browserid", self.support_document, moves=False),
            Route("GET", "/.well-known/public-keys", self.public_keys, moves=False),
            Route("GET", _SIGN_IN, self.about, moves=False),
            Route("GET", _PROVISION, self.about, moves=False),
        ]

    async def certificate_sign(self, call: Call[CertificateSign]) -> Answer:
        params = call.params
        return json_answer(
            {"cert": await self._signing.sign(call.token, params.public_key, params.duration_ms, call.client)}
        )

    async def support_document(self, call: Call[NoParams]) -> Answer:
        document = {
            "public-key": self._signing.signing_key().browserid_public_key(),
            "authentication": _SIGN_IN,
            "provisioning": _PROVISION,
        }
        return json_answer(document, headers={"Cache-Control": "public, max-age=10, must-revalidate"})

    async def public_keys(self, call: Call[NoParams]) -> Answer:
        return json_answer({"keys": [self._signing.signing_key().jwk()]})

    async def about(self, call: Call[NoParams]) -> Answer:
        return Answer(200, self._page, HTML_TYPE)

"""Whom a client takes for the server by https, and what it says of one that it does not believe."""

import ssl

from ultramarine.domain.errors import InvalidInput, Unavailable

_CA_WORDS = "um up --listen prints its CA there: save it, and export ULTRAMARINE_CA_FILE=FILE"
_NOT_TRUSTED = (18, 19, 20, 21)  #: OpenSSL's: signed by itself, or by nobody that is known here
_EXPIRED, _NOT_YET, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64


def context(ca_file: str) -> ssl.SSLContext:
    """`ca_file`: what alone is trusted; empty: what this machine trusts. Raises `InvalidInput`."""
    try:
        made = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InvalidInput(f"The CA file {ca_file} cannot be read: {why}.", hint=_CA_WORDS) from error
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made


def unbelieved(error: ssl.SSLError, url: str) -> Unavailable:
    """The words for a server at `url` that has shown the wrong certificate, or speaks no TLS."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return Unavailable(
            f"What answers at {url} does not speak TLS as expected: {error.reason or error}.",
            hint="Look at the port: https:// is for what um up --listen names, http:// for the server's own machine.",
        )
    code = error.verify_code
    if code in (_EXPIRED, _NOT_YET):
        state = "has ended" if code == _EXPIRED else "is not good yet"
        return Unavailable(
            f"The certificate of {url} {state}, by the clock of this machine.",
            hint="Compare the clocks (date). On the server HOME/logs/control.log says why it was not renewed.",
        )
    if code in (_OTHER_NAME, _OTHER_ADDRESS):
        return Unavailable(
            f"The server at {url} has a certificate for other names: {error.verify_message.rstrip('.')}.",
            hint="Use a name that it has, or give it this one: ULTRAMARINE_LISTEN_NAMES=NAME um up --listen ADDRESS",
        )
    if code in _NOT_TRUSTED:
        return Unavailable(
            f"The server at {url} shows a certificate that nobody trusted here has signed: {error.verify_message}.",
            hint=_CA_WORDS,
        )
    return Unavailable(f"The certificate of {url} is not believed: {error.verify_message}.", hint=_CA_WORDS)

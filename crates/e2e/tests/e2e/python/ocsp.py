"""An OCSP response that says `good`, from and until when it shall: seconds from now on. openssl's own cannot be of
another time than now."""

import datetime
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

authority, key, certificate, out, begins, ends = sys.argv[1:]
read = lambda path: open(path, "rb").read()
authority = x509.load_pem_x509_certificate(read(authority))
now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
at = lambda seconds: now + datetime.timedelta(seconds=int(seconds))
builder = ocsp.OCSPResponseBuilder().add_response(
    cert=x509.load_pem_x509_certificate(read(certificate)),
    issuer=authority,
    algorithm=hashes.SHA256(),
    cert_status=ocsp.OCSPCertStatus.GOOD,
    this_update=at(begins),
    next_update=at(ends),
    revocation_time=None,
    revocation_reason=None,
)
builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, authority)
response = builder.sign(serialization.load_pem_private_key(read(key), None), hashes.SHA256())
open(out, "wb").write(response.public_bytes(serialization.Encoding.DER))

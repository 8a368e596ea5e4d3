"""Writes ca.pem, and server.pem with server.key for 127.0.0.1, into the folder that it is given, and for each further
argument `name=URI` the certificate and key of a client of that URI."""

import datetime
import ipaddress
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

folder = pathlib.Path(sys.argv[1])
now = datetime.datetime.now(datetime.timezone.utc)


def certificate(name, key, issuer, signer, extensions):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


authority_key = ec.generate_private_key(ec.SECP256R1())
authority = certificate("tests", authority_key, None, authority_key, [(x509.BasicConstraints(True, None), True)])


def write(name, alternative_name):
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([alternative_name])
    made = certificate(name, key, authority.subject, authority_key, [(names, False)])
    (folder / f"{name}.pem").write_bytes(pem(made))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


(folder / "ca.pem").write_bytes(pem(authority))
write("server", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
for argument in sys.argv[2:]:
    name, _, uri = argument.partition("=")
    write(name, x509.UniformResourceIdentifier(uri))

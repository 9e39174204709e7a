//! The channel binding `tls-server-end-point` (RFC 5929 section 4): a hash of the certificate
//! that the client has seen, so that SCRAM fails where somebody in between shows another.

use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Hashes a certificate (DER) with the hash of its own signature, MD5 and SHA-1 replaced by
/// SHA-256. `None` where the RFC does not say which, as for Ed25519.
pub(super) fn hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    match parsed.signature_algorithm.algorithm.to_id_string().as_str() {
        // RSA (PKCS #1) with MD5, SHA-1, SHA-256; ECDSA with SHA-1, SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Some(Sha256::digest(certificate).to_vec()),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => {
            Some(Sha384::digest(certificate).to_vec())
        }
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => {
            Some(Sha512::digest(certificate).to_vec())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn length_with(algorithm: &'static rcgen::SignatureAlgorithm) -> Option<usize> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["db".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        hash(certificate.der()).map(|hash| hash.len())
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        assert_eq!(length_with(&rcgen::PKCS_ECDSA_P256_SHA256), Some(32));
        assert_eq!(length_with(&rcgen::PKCS_ECDSA_P384_SHA384), Some(48));
        assert_eq!(length_with(&rcgen::PKCS_ED25519), None);
        assert_eq!(hash(b"no certificate"), None);
    }
}

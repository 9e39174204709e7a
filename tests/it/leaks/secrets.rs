//! What is looked for where nothing of it may be, however it is written.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use sha2::{Digest as _, Sha256};

/// Secrets that have been used in a test.
#[derive(Debug, Default)]
pub(super) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Those of a test's own making.
    pub(super) fn of<const N: usize>(secrets: [&str; N]) -> Self {
        let mut all = Self::default();
        all.add(secrets);
        all
    }

    /// More of them.
    pub(super) fn add<const N: usize>(&mut self, secrets: [&str; N]) {
        self.0
            .extend(secrets.map(|secret| secret.as_bytes().into()));
    }

    /// A token behind its prefix, and the hash that rows and keys have of it, as text and as bytes.
    pub(super) fn add_token(&mut self, token: &str) {
        let hash = Sha256::digest(token);
        self.add([&token[5..], &hex(&hash)]);
        self.0.push(hash.to_vec());
    }

    /// Asserts that no line of these texts has any of them in any spelling.
    pub(super) fn are_nowhere_in(&self, places: &[(&str, &str)]) {
        assert!(places.iter().all(|(_, text)| !text.is_empty()), "to search");
        for secret in &self.0 {
            assert!(secret.len() >= 8, "so short that it is anywhere");
            for spelling in spellings(secret) {
                for (place, text) in places {
                    let found = text.lines().find(|line| line.contains(&spelling));
                    assert_eq!(found, None, "{spelling} is in the {place}");
                }
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a secret may be written: as it is, by `{:?}` as text and as bytes, in hexadecimal,
/// percent-encoded (all of it, or what is no letter and no digit), and in either base64, wherever
/// it begins in what was encoded.
fn spellings(secret: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    if let Ok(text) = std::str::from_utf8(secret) {
        all.extend([text.to_owned(), text.escape_debug().collect()]);
    }
    let bytes = format!("{secret:?}");
    all.push(bytes.trim_matches(['[', ']']).to_owned());
    all.extend([hex(secret), hex(secret).to_uppercase()]);
    let percent = |all_of_it: bool| {
        let bytes = secret.iter().map(move |byte| match byte {
            byte if byte.is_ascii_alphanumeric() && !all_of_it => char::from(*byte).to_string(),
            byte => format!("%{byte:02X}"),
        });
        bytes.collect::<String>()
    };
    all.extend([percent(true), percent(true).to_lowercase(), percent(false)]);
    for before in 0..3 {
        let padded = [&[0; 2][..before], secret].concat();
        // Six bits a letter: those that somebody else's bits are in are left out at both ends.
        let letters = (before * 8).div_ceil(6)..padded.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            all.push(engine.encode(&padded)[letters.clone()].to_owned());
        }
    }
    all.sort();
    all.dedup();
    all
}

#[test]
fn a_secret_is_found_in_every_spelling() {
    let secrets = Secrets::of(["hidden+/\u{e9}\"1"]);
    let secret = secrets.0[0].clone();
    let lines = |before: &str, after: &str| {
        let text = String::from_utf8(secret.clone()).unwrap();
        let around = [before.as_bytes(), &secret, after.as_bytes()].concat();
        vec![
            text.clone(),
            format!("{text:?}"),
            format!("{around:?}"),
            format!("{around:#04x?}")
                .replace(['\n', ' ', ','], "")
                .replace("0x", ""),
            hex(&around).to_uppercase(),
            percent_encoding::percent_encode(&around, percent_encoding::NON_ALPHANUMERIC)
                .to_string(),
            around.iter().map(|byte| format!("%{byte:02x}")).collect(),
            STANDARD_NO_PAD.encode(&around),
            URL_SAFE_NO_PAD.encode(&around),
        ]
    };
    for (before, after) in [("", ""), ("a", "ab"), ("ab", "a"), ("abc", "\u{ff}")] {
        for line in lines(before, after) {
            let searched = std::panic::catch_unwind(|| secrets.are_nowhere_in(&[("log", &line)]));
            assert!(searched.is_err(), "{line}");
        }
    }
    secrets.are_nowhere_in(&[("log", "hidden")]);
}

#[test]
fn a_tokens_hash_is_as_secret_as_the_token() {
    let mut secrets = Secrets::default();
    secrets.add_token("dfoa_hidden-token");

    let hash = Sha256::digest("dfoa_hidden-token");
    for line in [
        hex(&hash),
        format!("{hash:?}"),
        STANDARD_NO_PAD.encode(hash),
    ] {
        let searched = std::panic::catch_unwind(|| secrets.are_nowhere_in(&[("log", &line)]));
        assert!(searched.is_err(), "{line}");
    }
}

//! The two codes of RFC 8628: the one that a device keeps and the one that a person types.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::entropy::Entropy;

/// The 30 characters of a user code: no two of them look alike (no 0 O, 1 I L…, 2 Z).
const ALPHABET: &[u8; 30] = b"ABCDEFGHJKLMNPQRSTUVWXY3456789";

/// Characters in a user code, apart from its hyphen: 30^8 ≈ 6.6 × 10^11 codes.
const USER_CODE_LENGTH: usize = 8;

/// What a device code begins with.
const DEVICE_CODE_PREFIX: &str = "dc_";

/// Random bytes in a device code; 32 characters in base64url.
const DEVICE_CODE_BYTES: usize = 24;

/// Length of the part of a device code that is random.
const DEVICE_CODE_LENGTH: usize = 32;

/// The code that a person reads off one device and types into another: `XXXX-XXXX`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserCode([u8; USER_CODE_LENGTH]);

impl UserCode {
    /// Draws a code; every one is equally likely.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        // 240 is the largest multiple of 30 that a byte holds; the bytes above would favour some
        // characters.
        const FAIR: u8 = 240;
        let mut code = [0; USER_CODE_LENGTH];
        let mut drawn = 0;
        while drawn < USER_CODE_LENGTH {
            let mut bytes = [0; 2 * USER_CODE_LENGTH];
            entropy.fill(&mut bytes);
            for byte in bytes.into_iter().filter(|byte| *byte < FAIR) {
                if let Some(place) = code.get_mut(drawn) {
                    *place = ALPHABET[usize::from(byte) % ALPHABET.len()];
                    drawn += 1;
                }
            }
        }
        Self(code)
    }

    /// Reads a code as a person may have typed it: in any case, with or without its hyphen, with
    /// spaces. Anything that then is no code is `None`, as good as unknown.
    pub fn parse(typed: &str) -> Option<Self> {
        let mut code = [0; USER_CODE_LENGTH];
        let mut length = 0;
        let significant = typed
            .trim()
            .chars()
            .filter(|character| *character != '-' && !character.is_whitespace());
        for character in significant {
            let upper = u8::try_from(character).ok()?.to_ascii_uppercase();
            if !ALPHABET.contains(&upper) {
                return None;
            }
            *code.get_mut(length)? = upper;
            length += 1;
        }
        (length == USER_CODE_LENGTH).then_some(Self(code))
    }

    /// Returns the code with its hyphen, as it is shown and stored.
    pub fn to_text(&self) -> String {
        let text: String = self.0.iter().map(|byte| char::from(*byte)).collect();
        format!("{}-{}", &text[..4], &text[4..])
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(…)")
    }
}

/// The code with which a device asks for its token: a secret, like the token itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DeviceCode(String);

impl DeviceCode {
    /// Draws a code.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; DEVICE_CODE_BYTES];
        entropy.fill(&mut bytes);
        Self(format!(
            "{DEVICE_CODE_PREFIX}{}",
            URL_SAFE_NO_PAD.encode(bytes)
        ))
    }

    /// Reads a code; what cannot be one is `None`, and no store is asked about it.
    pub fn parse(text: &str) -> Option<Self> {
        let random = text.strip_prefix(DEVICE_CODE_PREFIX)?;
        let well_formed = random.len() == DEVICE_CODE_LENGTH
            && random
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        well_formed.then(|| Self(text.to_owned()))
    }

    /// Returns the code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceCode(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::entropy::OsEntropy;

    #[test]
    fn what_people_type_is_understood() {
        let code = UserCode::parse("ABCD-3456").unwrap();
        for typed in [
            "abcd-3456",
            " ABCD3456 ",
            "ab cd-34 56",
            "A-B-C-D-3456",
            "abcd\u{a0}3456",
        ] {
            assert_eq!(UserCode::parse(typed).as_ref(), Some(&code), "{typed:?}");
        }
        assert_eq!(code.to_text(), "ABCD-3456");
    }

    #[test]
    fn what_is_no_code_is_unknown() {
        for typed in [
            "",
            "ABCD-345",
            "ABCD-34567",
            "ABCD-345O",
            "ABCD-3450",
            "ABCD-3451",
            "ABCD-345I",
            "ABCD-3452",
            "ABCD-345Z",
            "ÄBCD-3456",
            "ABCD_3456",
            "ＡBCD-3456",
        ] {
            assert_eq!(UserCode::parse(typed), None, "{typed:?}");
        }
    }

    #[test]
    fn every_character_is_drawn_about_as_often() {
        let mut counts = HashMap::new();
        for _ in 0..6_000 {
            for byte in UserCode::draw(&OsEntropy).0 {
                *counts.entry(byte).or_insert(0_u32) += 1;
            }
        }
        assert_eq!(counts.len(), ALPHABET.len());
        // 1,600 expected; seven standard deviations either way.
        assert!(
            counts.values().all(|count| (1_320..1_880).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn device_codes_have_one_form() {
        let code = DeviceCode::draw(&OsEntropy);
        assert_eq!(DeviceCode::parse(code.as_str()), Some(code.clone()));
        assert_eq!(code.as_str().len(), 35);
        for text in [
            "",
            "dc_",
            "dc_short",
            "xx_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "dc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "dc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAé",
        ] {
            assert_eq!(DeviceCode::parse(text), None, "{text}");
        }
    }

    #[test]
    fn codes_are_never_printed() {
        let printed = format!(
            "{:?} {:?}",
            UserCode::draw(&OsEntropy),
            DeviceCode::draw(&OsEntropy)
        );
        assert_eq!(printed, "UserCode(…) DeviceCode(…)");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = UserCode::parse(&text);
            let _ = DeviceCode::parse(&text);
        }
    }
}

//! Finding values in bytes, whatever else is in them.

use bytes::Bytes;
use proptest::prelude::*;

use crate::privacy::token::{Form, Token, close, find, replace, sealed};

fn at_rest() -> impl Strategy<Value = String> {
    ("[a-z0-9:@ ]{1,12}", "[A-Za-z0-9_-]{1,40}").prop_map(|(subject, ciphertext)| sealed(&subject, &ciphertext))
}

/// Bytes with values in them: at the places JSON has strings, at others, and next to each other.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        at_rest().prop_map(|token| format!("\"{token}\"").into_bytes()),
        at_rest().prop_map(|token| format!("\\\"{token}\\\"").into_bytes()),
        at_rest().prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(prop_oneof![Just(b'~'), Just(b'"'), Just(b's'), Just(b'1')], 0..20),
        Just(b"~sealed1~".to_vec()),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// What is read and written back is what was there, whatever of it was opened.
    #[test]
    fn closing_undoes_opening(bytes in bytes(), which: u64) {
        let mut nth = 0;
        let opened = replace(&bytes, |token| {
            nth += 1;
            match (which >> (nth % 32 * 2)) & 3 {
                0 => None,
                1 => Some(token.to(Form::Forgotten, &[])),
                _ => Some(token.to(Form::Opened, b"in transit")),
            }
        });
        let mut closed = opened.unwrap_or_else(|| Bytes::from(bytes.clone()));
        close(&mut closed);
        prop_assert_eq!(&closed[..], &bytes[..]);
    }

    #[test]
    fn every_value_in_json_is_found_once(tokens in prop::collection::vec(at_rest(), 0..6), other in ".*") {
        let json = serde_json::json!({ "a": tokens, "b": { "c": other, "d": tokens }, "e": 1 });
        let within = serde_json::json!({ "json": json.to_string() }).to_string();
        for text in [json.to_string(), within] {
            let found: Vec<_> = find(text.as_bytes()).map(|(_, token)| token.to(Form::Sealed, &[])).collect();
            prop_assert_eq!(&found, &[&tokens[..], &tokens[..]].concat());
        }
    }

    #[test]
    fn no_text_is_half_a_value(text in "[~a-z0-9]{0,40}") {
        if let Some(token) = Token::parse(&text) {
            let transit = token.transit().unwrap_or_default();
            // Read and written, it is the same, unless its base64 was not proper.
            prop_assert!(token.to(token.form, &transit).len() <= text.len() + 2);
        }
    }
}

#[test]
fn a_value_that_is_part_of_a_text_is_not_one() {
    let token = sealed("s", "AAAA");
    for text in [format!("\"x{token}\""), format!("\"{token} \""), token.clone(), format!("\"{token}")] {
        assert_eq!(find(text.as_bytes()).count(), 0, "{text}");
    }
    assert_eq!(find(format!("\"{token}\"").as_bytes()).count(), 1);
}

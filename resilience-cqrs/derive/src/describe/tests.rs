use quote::ToTokens;

use super::*;

#[track_caller]
fn refused(input: DeriveInput) -> (String, String) {
    match describe(&input) {
        Ok(_) => panic!("should be refused: {}", input.to_token_stream()),
        Err(error) => (error.to_string(), error.span().source_text().unwrap_or_default()),
    }
}

/// The words at the place that is wrong, as a reader of the compiler's output sees them underlined.
#[test]
fn what_is_wrong_is_said_where_it_stands() {
    let cases = [
        ("enum E {}", "E", "there is no event in it"),
        ("union E { a: u8 }", "union", "an event is an enum's variant, or a struct"),
        ("enum E<T> { A(T) }", "<T>", "what is stored must not depend on a parameter: an event has none"),
        ("enum E { A, #[event(name = \"A\")] B }", "\"A\"", "a second event called A"),
        ("enum E { #[event(version = 0)] A }", "0", "versions count from 1"),
        ("enum E { #[event(version = 1, version = 2)] A }", "version", "`version` is said twice"),
        ("enum E { #[event(tag)] A }", "tag", "not known here, `name`, `version` would be"),
        ("#[event(name = \"A\")] enum E { A }", "name", "not known here, `crate` would be"),
        ("struct S { #[event(name = \"a\")] a: u8 }", "name", "not known here, `tag` would be"),
        ("struct S(#[event(tag)] u8);", "u8", "a field without a name: say what its tag begins with, `tag = \"...\"`"),
        ("struct S { #[event(tag = \"\")] a: u8 }", "\"\"", "a tag begins with a word"),
        ("enum E { #[event(name = \"\")] A }", "\"\"", "the name of an event is empty"),
        ("enum E { #[event(name = \"A\\n\")] A }", "\"A\\n\"", "the name has control characters"),
        (
            "enum E { #[serde(rename = \"A.v2\")] A }",
            "\"A.v2\"",
            "a name that ends as that of a later version does: say `version`",
        ),
        (
            "#[serde(untagged)] enum E { A }",
            "untagged",
            "`untagged` mixes an event's name into its inside, or hides it: the log keeps them apart",
        ),
        ("enum E { #[serde(other)] A }", "other", "a variant with `other` cannot be stored and read back"),
        ("enum E { #[serde(skip)] A }", "skip", "a variant with `skip` cannot be stored and read back"),
        ("struct S { #[serde(flatten)] a: u8 }", "flatten", "`flatten` cannot be described: implement `Event` by hand"),
        (
            "struct S { #[serde(rename(serialize = \"b\"))] a: u8 }",
            "rename",
            "an event is written under the name it is read by: say one name",
        ),
    ];
    for (text, place, problem) in cases {
        let input = syn::parse_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(refused(input), (problem.into(), place.into()), "{text}");
    }
    let long: DeriveInput = syn::parse_str(&format!("struct {};", "S".repeat(256))).unwrap();
    assert_eq!(refused(long).0, "the name has 256 bytes, at most 255 may be");
}

#[test]
fn what_changes_nothing_in_the_store_is_let_be() {
    let input: DeriveInput = parse_quote! {
        #[derive(Debug)]
        #[serde(deny_unknown_fields, bound(serialize = "u8: Copy"), crate = "serde")]
        enum E {
            #[serde(alias = "Z", bound = "u8: Copy")]
            #[doc = "a"]
            A { #[serde(with = "other", skip_serializing_if = "Option::is_none")] r#type: Option<u8> },
        }
    };
    let described = describe(&input).unwrap_or_else(|error| panic!("{error}"));
    let field = &described.shapes[0].fields[0];
    assert!(field.optional && field.stored);
    assert_eq!((field.name.as_str(), field.spelling.as_str()), ("type", "Option<u8>"));
}

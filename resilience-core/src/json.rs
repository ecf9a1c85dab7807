//! Writes the few kinds of JSON this crate answers with.
//!
//! By hand, since all of it is objects of strings, numbers and flags that are made here: a health endpoint should not
//! bring a serialisation framework along, and what could go wrong (escaping, numbers JSON has no way to write) is a page
//! that a test compares with `serde_json`.

use std::fmt::Write;

/// An object being written. Finished by [`end`](Self::end).
#[derive(Debug)]
pub(crate) struct Object<'a> {
    out: &'a mut String,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, is_empty: true }
    }

    /// Writes a name; the value follows.
    fn name(&mut self, name: &str) -> &mut String {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(',');
        }
        string(self.out, name);
        self.out.push(':');
        self.out
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) {
        string(self.name(name), text);
    }

    pub(crate) fn flag(&mut self, name: &str, flag: bool) {
        self.name(name).push_str(if flag { "true" } else { "false" });
    }

    pub(crate) fn integer(&mut self, name: &str, number: i128) {
        // Writing to a string does not fail.
        let _ = write!(self.name(name), "{number}");
    }

    /// A number; `null` if JSON cannot write it.
    pub(crate) fn number(&mut self, name: &str, number: f64) {
        let out = self.name(name);
        if number.is_finite() {
            let _ = write!(out, "{number:?}");
        } else {
            out.push_str("null");
        }
    }

    /// An object inside.
    pub(crate) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        let mut inner = Object::begin(self.name(name));
        fill(&mut inner);
        inner.end();
    }

    pub(crate) fn end(self) {
        self.out.push('}');
    }
}

/// A list of objects.
pub(crate) fn list<T>(out: &mut String, items: impl IntoIterator<Item = T>, fill: impl Fn(&mut Object<'_>, T)) {
    out.push('[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let mut object = Object::begin(out);
        fill(&mut object, item);
        object.end();
    }
    out.push(']');
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // The rest of what RFC 8259 forbids; and what would let a text in a script end its line.
            c if c < '\u{20}' || c == '\u{2028}' || c == '\u{2029}' || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(all(test, not(loom), feature = "json"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a check says and a policy is called, what is written is JSON and says the same.
        #[test]
        fn whatever_is_written_is_read_as_the_same(name: String, text: String, integer: u64, flag: bool) {
            let mut out = String::new();
            let mut object = Object::begin(&mut out);
            object.text("text", &text);
            object.object("inner", |inner| inner.text(&name, "x"));
            object.integer("integer", integer.into());
            object.flag("flag", flag);
            object.end();
            let read: serde_json::Value = serde_json::from_str(&out).unwrap();
            let mut inner = serde_json::Map::new();
            inner.insert(name, "x".into());
            let expected = serde_json::json!({
                "text": text, "inner": inner, "integer": integer, "flag": flag,
            });
            prop_assert_eq!(read, expected);
        }

        /// A number is written to the last place, and what is none is written as nothing.
        #[test]
        fn a_number_is_written_to_the_last_place(number: f64) {
            let mut out = String::new();
            let mut object = Object::begin(&mut out);
            object.number("n", number);
            object.end();
            prop_assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{}", out);
            let written = out.strip_prefix("{\"n\":").and_then(|rest| rest.strip_suffix('}')).unwrap();
            // The standard library reads exactly; serde_json would round the last place.
            match written.parse::<f64>() {
                Ok(read) => prop_assert_eq!(read.to_bits(), number.to_bits()),
                Err(_) => prop_assert!(written == "null" && !number.is_finite()),
            }
        }
    }

    #[test]
    fn an_empty_list_and_an_empty_object_are_written() {
        let mut out = String::new();
        list(&mut out, [(); 0], |_, ()| {});
        list(&mut out, [1, 2], |object, number| object.integer("n", number));
        Object::begin(&mut out).end();
        assert_eq!(out, r#"[][{"n":1},{"n":2}]{}"#);
    }
}

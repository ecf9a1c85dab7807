//! Where in a text the value at a path is. A hint for people: what is not found has no line.

/// The line, from 1, of the byte at `offset`.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// The line of the deepest part of `path` that is there.
#[cfg(feature = "toml")]
pub(super) fn in_toml(text: &str, path: &str) -> Option<usize> {
    use toml::de::{DeTable, DeValue};

    let root = DeTable::parse(text).ok()?;
    let (mut table, mut found) = (root.get_ref(), None);
    for name in path.split('.') {
        let Some((key, value)) = table.iter().find(|(key, _)| *key.get_ref() == name) else { break };
        found = Some(key.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    found.map(|offset| line_of(text, offset))
}

/// The line of the deepest part of `path` that is there, in a text that is JSON.
#[cfg(feature = "json")]
pub(super) fn in_json(text: &str, path: &str) -> Option<usize> {
    let mut scan = Scan { text: text.as_bytes(), at: 0 };
    let mut found = None;
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let Some(at) = scan.enter(name) else { break };
        found = Some(at);
        if names.peek().is_none() {
            break;
        }
    }
    found.map(|offset| line_of(text, offset))
}

/// Walks JSON that has been parsed before, and so is well formed; stops, and never panics, where it is not.
#[cfg(feature = "json")]
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

#[cfg(feature = "json")]
impl Scan<'_> {
    /// Goes to the value of `name` in the object that begins here; where the name is.
    fn enter(&mut self, name: &str) -> Option<usize> {
        if self.next()? != b'{' {
            return None;
        }
        loop {
            let byte = self.next()?;
            if byte == b',' {
                continue;
            }
            if byte != b'"' {
                return None;
            }
            let start = self.at - 1;
            self.skip_string()?;
            let key = self.text.get(start + 1..self.at - 1)?;
            if self.next()? != b':' {
                return None;
            }
            // Names that can be in a path have nothing to escape.
            if key == name.as_bytes() {
                return Some(start);
            }
            self.skip_value()?;
        }
    }

    /// The next byte that is not a space.
    fn next(&mut self) -> Option<u8> {
        while self.text.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.at += 1;
        self.text.get(self.at - 1).copied()
    }

    /// To behind the quote that ends the string whose first quote was just read.
    fn skip_string(&mut self) -> Option<()> {
        loop {
            let byte = *self.text.get(self.at)?;
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return Some(());
            }
        }
    }

    /// To behind the value that comes next.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'"' => self.skip_string()?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                _ => {
                    while self.text.get(self.at).is_some_and(|byte| !b",]} \t\r\n".contains(byte)) && depth == 0 {
                        self.at += 1;
                    }
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

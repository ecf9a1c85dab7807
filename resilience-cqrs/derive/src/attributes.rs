//! What is said about a type, a variant and a field, by `#[event(...)]` and by `#[serde(...)]`.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Lit, LitInt, LitStr, Path, Result, Token};

use crate::case::Case;

/// `#[event(...)]`, wherever it stands.
#[derive(Default)]
pub(crate) struct EventAttribute {
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<LitInt>,
    pub(crate) tag: Option<Tagged>,
    pub(crate) home: Option<Path>,
}

/// `tag`, or `tag = "prefix"`.
pub(crate) struct Tagged {
    pub(crate) prefix: Option<LitStr>,
}

/// Where an attribute stands, which decides what it may say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// An enum.
    Cases,
    /// A struct, which is an event itself.
    Type,
    Variant,
    Field,
}

impl Place {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Cases => &["crate"],
            Self::Type => &["crate", "name", "version"],
            Self::Variant => &["name", "version"],
            Self::Field => &["tag"],
        }
    }
}

impl EventAttribute {
    pub(crate) fn read(attributes: &[Attribute], place: Place) -> Result<Self> {
        let mut found = Self::default();
        let mut said = Vec::new();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("event")) {
            attribute.parse_nested_meta(|meta| {
                let words = place.words();
                let Some(word) = words.iter().find(|word| meta.path.is_ident(word)) else {
                    let known: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                    return Err(meta.error(format_args!("not known here, {} would be", known.join(", "))));
                };
                if said.contains(word) {
                    return Err(meta.error(format_args!("`{word}` is said twice")));
                }
                said.push(*word);
                found.take(word, &meta)
            })?;
        }
        Ok(found)
    }

    fn take(&mut self, word: &str, meta: &ParseNestedMeta<'_>) -> Result<()> {
        match word {
            "name" => self.name = Some(meta.value()?.parse()?),
            "version" => self.version = Some(meta.value()?.parse()?),
            "crate" => self.home = Some(meta.value()?.parse::<LitStr>()?.parse()?),
            _ => {
                let prefix = if meta.input.peek(Token![=]) { Some(meta.value()?.parse()?) } else { None };
                self.tag = Some(Tagged { prefix });
            }
        }
        Ok(())
    }
}

/// `#[serde(...)]`, as far as it changes what is stored under which name.
#[derive(Default)]
pub(crate) struct SerdeAttribute {
    pub(crate) rename: Option<LitStr>,
    pub(crate) rename_all: Option<Case>,
    pub(crate) rename_all_fields: Option<Case>,
    pub(crate) default: bool,
    /// Not stored.
    pub(crate) skipped: Option<Span>,
    /// Stored in a form that cannot be described, or not as an event; with what it is called.
    pub(crate) strange: Option<(String, Span)>,
}

impl SerdeAttribute {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| found.take(&meta))?;
        }
        Ok(found)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let word = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        let span = meta.path.span();
        let mut value = None;
        if meta.input.peek(Token![=]) {
            value = Some(meta.value()?.parse::<Lit>()?);
        } else if meta.input.peek(syn::token::Paren) {
            if word.starts_with("rename") {
                return Err(Error::new(span, "an event is written under the name it is read by: say one name"));
            }
            // Bounds and the like, which change nothing here.
            meta.parse_nested_meta(|inner| inner.value()?.parse::<Lit>().map(drop))?;
        }
        let text = match value {
            Some(Lit::Str(text)) => Some(text),
            _ => None,
        };
        match (word.as_str(), text) {
            ("rename", Some(name)) => self.rename = Some(name),
            // Serde itself refuses a rule that is none.
            ("rename_all", Some(rule)) => self.rename_all = Case::named(&rule.value()),
            ("rename_all_fields", Some(rule)) => self.rename_all_fields = Case::named(&rule.value()),
            ("default", _) => self.default = true,
            ("skip" | "skip_serializing", None) => self.skipped = Some(span),
            // What is sometimes left out must be optional.
            ("tag" | "content" | "untagged" | "from" | "into" | "try_from" | "remote" | "other" | "flatten", _) => {
                self.strange = Some((word, span));
            }
            _ => {}
        }
        Ok(())
    }
}

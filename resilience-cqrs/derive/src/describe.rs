//! From what is written to what is stored: the shape of each event, or what is wrong at which place.

use std::collections::HashMap;

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, LitStr, Member, Path, Result, Type, parse_quote};

use crate::attributes::{EventAttribute, Place, SerdeAttribute};
use crate::case::Case;
use crate::spelling::{Holds, spelling};

/// Longest name an event type may have: `resilience_cqrs::limits::NAME_BYTES`.
const NAME_BYTES: usize = 255;

/// A type that is events.
pub(crate) struct Described {
    pub(crate) ident: Ident,
    /// Where `resilience_cqrs` is.
    pub(crate) home: Path,
    pub(crate) shapes: Vec<Shape>,
}

/// One event.
pub(crate) struct Shape {
    /// The variant; `None` for a struct.
    pub(crate) variant: Option<Ident>,
    /// What serde calls it.
    pub(crate) serde_name: String,
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) fields: Vec<Field>,
}

/// A field that is stored, or a tag.
pub(crate) struct Field {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    pub(crate) name: String,
    pub(crate) spelling: String,
    pub(crate) optional: bool,
    pub(crate) stored: bool,
    pub(crate) holds: Holds,
    /// What its tag begins with.
    pub(crate) tag: Option<String>,
}

pub(crate) fn describe(input: &DeriveInput) -> Result<Described> {
    if !input.generics.params.is_empty() {
        let problem = "what is stored must not depend on a parameter: an event has none";
        return Err(Error::new_spanned(&input.generics, problem));
    }
    let serde = SerdeAttribute::read(&input.attrs)?;
    if let Some((word, span)) = &serde.strange {
        let problem = format!("`{word}` mixes an event's name into its inside, or hides it: the log keeps them apart");
        return Err(Error::new(*span, problem));
    }
    let (home, shapes) = match &input.data {
        Data::Struct(data) => {
            let event = EventAttribute::read(&input.attrs, Place::Type)?;
            let shape = shape(&input.ident, None, &event, &serde, &data.fields, serde.rename_all)?;
            (event.home, vec![shape])
        }
        Data::Enum(data) => {
            let event = EventAttribute::read(&input.attrs, Place::Cases)?;
            if data.variants.is_empty() {
                return Err(Error::new_spanned(&input.ident, "there is no event in it"));
            }
            let cases = data.variants.iter().map(|variant| case(variant, &serde));
            (event.home, cases.collect::<Result<_>>()?)
        }
        Data::Union(data) => {
            return Err(Error::new_spanned(data.union_token, "an event is an enum's variant, or a struct"));
        }
    };
    let home = home.unwrap_or_else(|| parse_quote!(::resilience_cqrs));
    Ok(Described { ident: input.ident.clone(), home, shapes: distinct(shapes)? })
}

fn case(variant: &syn::Variant, outer: &SerdeAttribute) -> Result<(Shape, Span)> {
    let serde = SerdeAttribute::read(&variant.attrs)?;
    let strange = serde.strange.as_ref().map(|(word, span)| (word.as_str(), *span));
    if let Some((word, span)) = strange.or(serde.skipped.map(|span| ("skip", span))) {
        return Err(Error::new(span, format!("a variant with `{word}` cannot be stored and read back")));
    }
    let event = EventAttribute::read(&variant.attrs, Place::Variant)?;
    let fields = serde.rename_all.or(outer.rename_all_fields);
    shape(&variant.ident, Some(outer.rename_all), &event, &serde, &variant.fields, fields)
}

/// The shape, and where its name is said.
fn shape(
    ident: &Ident,
    variants: Option<Option<Case>>,
    event: &EventAttribute,
    serde: &SerdeAttribute,
    fields: &Fields,
    case: Option<Case>,
) -> Result<(Shape, Span)> {
    let plain = ident.unraw().to_string();
    let by_rule = match variants.flatten() {
        Some(case) => case.of_variant(&plain),
        None => plain,
    };
    let serde_name = serde.rename.as_ref().map_or(by_rule, LitStr::value);
    let name = event.name.as_ref().map_or_else(|| serde_name.clone(), LitStr::value);
    let span = [&event.name, &serde.rename].into_iter().flatten().next().map_or_else(|| ident.span(), LitStr::span);
    storable(&name).map_err(|problem| Error::new(span, problem))?;
    let version = match &event.version {
        None => 1,
        Some(version) => match version.base10_parse()? {
            0 => return Err(Error::new_spanned(version, "versions count from 1")),
            version => version,
        },
    };
    let fields = fields.members().zip(fields).map(|(member, field)| described(member, field, case, serde.default));
    let fields = fields.collect::<Result<_>>()?;
    let variant = variants.is_some().then(|| ident.clone());
    Ok((Shape { variant, serde_name, name, version, fields }, span))
}

fn described(member: Member, field: &syn::Field, case: Option<Case>, default: bool) -> Result<Field> {
    let serde = SerdeAttribute::read(&field.attrs)?;
    if let Some((word, span)) = serde.strange {
        return Err(Error::new(span, format!("`{word}` cannot be described: implement `Event` by hand")));
    }
    let name = match (&serde.rename, &member) {
        (Some(name), _) => name.value(),
        (None, Member::Named(ident)) => {
            let plain = ident.unraw().to_string();
            case.map_or(plain.clone(), |case| case.of_field(&plain))
        }
        (None, Member::Unnamed(index)) => index.index.to_string(),
    };
    let holds = Holds::of(&field.ty);
    let tag = EventAttribute::read(&field.attrs, Place::Field)?.tag.map(|tag| tag.prefix);
    let tag = tag.map(|prefix| tag_prefix(prefix, &member, field.ty.span())).transpose()?;
    Ok(Field {
        ty: field.ty.clone(),
        spelling: spelling(&field.ty),
        optional: default || serde.default || holds == Holds::Perhaps,
        stored: serde.skipped.is_none(),
        member,
        name,
        holds,
        tag,
    })
}

fn tag_prefix(said: Option<LitStr>, member: &Member, span: Span) -> Result<String> {
    match (said, member) {
        (Some(prefix), _) if prefix.value().is_empty() => Err(Error::new(prefix.span(), "a tag begins with a word")),
        (Some(prefix), _) => Ok(prefix.value()),
        (None, Member::Named(ident)) => Ok(ident.unraw().to_string()),
        (None, Member::Unnamed(_)) => {
            Err(Error::new(span, "a field without a name: say what its tag begins with, `tag = \"...\"`"))
        }
    }
}

/// What an append would refuse, said before anything runs.
fn storable(name: &str) -> std::result::Result<(), String> {
    if name.is_empty() {
        return Err("the name of an event is empty".into());
    }
    if name.len() > NAME_BYTES {
        return Err(format!("the name has {} bytes, at most {NAME_BYTES} may be", name.len()));
    }
    if name.chars().any(|letter| letter.is_ascii_control()) {
        return Err("the name has control characters".into());
    }
    let version = name.rsplit_once(".v").is_some_and(|(_, version)| version.parse::<u32>().is_ok());
    if version { Err("a name that ends as that of a later version does: say `version`".into()) } else { Ok(()) }
}

fn distinct(shapes: Vec<(Shape, Span)>) -> Result<Vec<Shape>> {
    let mut seen = HashMap::new();
    for (shape, span) in &shapes {
        if let Some(first) = seen.insert(shape.name.as_str(), *span) {
            let mut error = Error::new(*span, format!("a second event called {}", shape.name));
            error.combine(Error::new(first, "the first one"));
            return Err(error);
        }
    }
    Ok(shapes.into_iter().map(|(shape, _)| shape).collect())
}

#[cfg(test)]
mod tests;

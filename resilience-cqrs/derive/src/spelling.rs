//! How a type is written, in one way whatever the spaces.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{GenericArgument, PathArguments, Type};

/// The type's tokens, with a space only where two words would run together.
///
/// Not the tokens' own `Display`, whose spaces may change with the compiler: what comes out is stored and compared.
pub(crate) fn spelling(ty: &Type) -> String {
    let mut text = String::new();
    write(ty.to_token_stream(), &mut text);
    text
}

fn write(tokens: TokenStream, text: &mut String) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                text.push_str(open);
                write(group.stream(), text);
                text.push_str(close);
            }
            TokenTree::Punct(punct) => text.push(punct.as_char()),
            word => {
                if text.ends_with(|last: char| last.is_alphanumeric() || last == '_') {
                    text.push(' ');
                }
                text.push_str(&word.to_string());
            }
        }
    }
}

/// How many values a field holds, as far as its spelling shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    One,
    /// An `Option`.
    Perhaps,
    /// A `Vec`.
    Many,
}

impl Holds {
    /// A macro sees words and not types: an alias of `Option` is not one here.
    pub(crate) fn of(ty: &Type) -> Self {
        let Type::Path(path) = ty else { return Self::One };
        let Some(last) = path.path.segments.last() else { return Self::One };
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { return Self::One };
        match arguments.args.first() {
            Some(GenericArgument::Type(_)) if last.ident == "Option" => Self::Perhaps,
            Some(GenericArgument::Type(_)) if last.ident == "Vec" => Self::Many,
            _ => Self::One,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_spelled_in_one_way_whatever_the_spaces() {
        for (written, spelled) in [
            ("Vec < u8 >", "Vec<u8>"),
            ("std :: collections::BTreeMap<String , [ u8 ; 4 ]>", "std::collections::BTreeMap<String,[u8;4]>"),
            ("Box<dyn  Fn( u8 ) -> ( i8 , )>", "Box<dyn Fn(u8)->(i8,)>"),
            ("& 'static str", "&'static str"),
            ("()", "()"),
        ] {
            assert_eq!(spelling(&syn::parse_str(written).unwrap()), spelled);
        }
    }
}

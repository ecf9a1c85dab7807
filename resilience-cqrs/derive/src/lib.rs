//! The derive of `resilience_cqrs::aggregate::Event`. Its feature `derive` re-exports it; there is no need to name this
//! crate.
//!
//! A derive only saves typing: what it writes can be written by hand, and nothing in `resilience_cqrs` asks who wrote it.

mod attributes;
mod case;
mod describe;
mod generate;
mod spelling;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Describes the events of an enum, or the one event that a struct is: their names, versions, fields and tags.
///
/// ```
/// use resilience_cqrs::aggregate::Event;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// enum Bank {
///     Opened {
///         #[event(tag)]
///         owner: String,
///     },
///     #[event(name = "MoneyDeposited", version = 2)]
///     Deposited { cents: i64, memo: Option<String> },
/// }
///
/// let opened = Bank::Opened { owner: "ann".into() };
/// assert_eq!(opened.tags(), ["owner:ann"]);
/// let deposited = &Bank::SHAPES[1];
/// assert_eq!((deposited.name(), deposited.version()), ("MoneyDeposited", 2));
/// assert!(deposited.fields()[1].is_optional());
/// ```
///
/// # On a variant, or on a struct
///
/// - `#[event(name = "...")]`: what it is called in the log. Default: what serde calls it.
/// - `#[event(version = 2)]`: which form of it this is. Default: 1. What becomes of earlier ones is told to the schema.
///
/// # On a field
///
/// - `#[event(tag)]`: the event is about it; the tag is `field:value`. `#[event(tag = "customer")]` makes it
///   `customer:value`. The field is anything that can be displayed; an `Option` gives a tag if it is there, a `Vec` one for
///   each element.
///
/// # On the type
///
/// - `#[event(crate = "some::path")]`: where `resilience_cqrs` is to be found, if it is not called that.
///
/// # Serde
///
/// Fields and variants are described as they are stored: `rename`, `rename_all` and `rename_all_fields` count, fields that
/// are skipped are left out, fields with a `default` are optional, as is every `Option`.
///
/// ```
/// use resilience_cqrs::aggregate::Event;
///
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// #[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
/// enum Bank {
///     AccountOpened { opened_by: String },
/// }
///
/// let [opened] = Bank::SHAPES else { unreachable!() };
/// assert_eq!((opened.name(), opened.fields()[0].name()), ("account-opened", "openedBy"));
/// ```
///
/// # What it refuses
///
/// A type that is not an event, a name that cannot be stored, and what it could only describe wrongly; at the place where
/// it stands.
///
/// ```compile_fail
/// # use resilience_cqrs::aggregate::Event;
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// enum Bank {
///     Opened,
///     #[event(name = "Opened")] // two events of one name
///     Reopened,
/// }
/// ```
///
/// ```compile_fail
/// # use resilience_cqrs::aggregate::Event;
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// enum Bank {
///     #[event(version = 0)] // they count from 1
///     Opened,
/// }
/// ```
///
/// ```compile_fail
/// # use resilience_cqrs::aggregate::Event;
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// enum Bank {
///     #[event(nmae = "Opened")] // a word it does not know
///     Opened,
/// }
/// ```
///
/// ```compile_fail
/// # use resilience_cqrs::aggregate::Event;
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// #[serde(tag = "type")] // the log keeps the name and the inside apart, and needs them apart
/// enum Bank {
///     Opened,
/// }
/// ```
///
/// ```compile_fail
/// # use resilience_cqrs::aggregate::Event;
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// enum Bank {
///     Opened {
///         #[event(tag)]
///         owner: Owner, // cannot be displayed
///     },
/// }
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Owner;
/// ```
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let described = describe::describe(&input);
    described.map_or_else(syn::Error::into_compile_error, |described| generate::generate(&described)).into()
}

//! The implementation of `Event`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;

use crate::describe::{Described, Field, Shape};
use crate::spelling::Holds;

pub(crate) fn generate(described: &Described) -> TokenStream {
    let Described { ident, home, shapes } = described;
    let event = quote!(#home::aggregate);
    let written = shapes.iter().map(|shape| self::shape(shape, &event));
    let which = match shapes.as_slice() {
        [_] => quote!(0),
        shapes => {
            let patterns = shapes.iter().map(pattern);
            let numbers = 0..shapes.len();
            quote!(match self { #(#patterns => #numbers,)* })
        }
    };
    let tags = tags(shapes, home);
    quote! {
        #[automatically_derived]
        impl #event::Event for #ident {
            const SHAPES: &'static [#event::EventShape] = &[#(#written),*];

            fn shape(&self) -> &'static #event::EventShape {
                &<Self as #event::Event>::SHAPES[#which]
            }

            #tags
        }
    }
}

fn shape(shape: &Shape, event: &TokenStream) -> TokenStream {
    let Shape { name, version, serde_name, .. } = shape;
    let renamed = (name != serde_name).then(|| quote!(.serde_name(#serde_name)));
    let fields = shape.fields.iter().filter(|field| field.stored).map(|field| {
        let Field { name, spelling, .. } = field;
        let optional = field.optional.then(|| quote!(.optional()));
        quote!(#event::FieldShape::new(#name, #spelling)#optional)
    });
    quote!(#event::EventShape::new(#name, #version, &[#(#fields),*])#renamed)
}

/// Matches the shape's event, whatever is in it.
fn pattern(shape: &Shape) -> TokenStream {
    match &shape.variant {
        Some(variant) => quote!(Self::#variant { .. }),
        None => quote!(Self { .. }),
    }
}

fn tags(shapes: &[Shape], home: &syn::Path) -> Option<TokenStream> {
    let tagged = |shape: &&Shape| shape.fields.iter().any(|field| field.tag.is_some());
    let arms: Vec<_> = shapes.iter().filter(tagged).map(|shape| tags_of(shape, home)).collect();
    if arms.is_empty() {
        return None;
    }
    let rest = (arms.len() < shapes.len()).then(|| quote!(_ => ::std::vec::Vec::new(),));
    Some(quote! {
        fn tags(&self) -> ::std::vec::Vec<#home::Tag> {
            match self { #(#arms)* #rest }
        }
    })
}

fn tags_of(shape: &Shape, home: &syn::Path) -> TokenStream {
    let (mut bound, mut pushes) = (Vec::new(), Vec::new());
    for (nth, field) in shape.fields.iter().enumerate() {
        let Some(prefix) = &field.tag else { continue };
        let (member, value) = (&field.member, format_ident!("field{nth}"));
        bound.push(quote!(#member: #value));
        // Spanned as the field's type: that is what cannot be displayed, if it cannot.
        pushes.push(match field.holds {
            Holds::One => push(prefix, quote_spanned!(field.ty.span()=> #value), home),
            Holds::Perhaps => {
                let push = push(prefix, quote_spanned!(field.ty.span()=> each), home);
                quote!(if let ::std::option::Option::Some(each) = #value { #push })
            }
            Holds::Many => {
                let push = push(prefix, quote_spanned!(field.ty.span()=> each), home);
                quote!(for each in #value { #push })
            }
        });
    }
    let path = match &shape.variant {
        Some(variant) => quote!(Self::#variant),
        None => quote!(Self),
    };
    quote! {
        #path { #(#bound,)* .. } => {
            let mut tags = ::std::vec::Vec::new();
            #(#pushes)*
            tags
        }
    }
}

fn push(prefix: &str, value: TokenStream, home: &syn::Path) -> TokenStream {
    let text = quote_spanned!(value.span()=> ::std::string::ToString::to_string(#value));
    quote!(tags.push(#home::Tag::from([#prefix, ":", #text.as_str()].concat()));)
}

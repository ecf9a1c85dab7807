//! Puts a name and an inside back together.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, VariantAccess, Visitor,
};
use serde_json::Error;

/// Why a record is not an event of the type asked for.
#[derive(Debug)]
pub(in super::super) enum DecodeError {
    /// The type has no such name.
    UnknownType,
    /// The inside does not fit.
    Json(Error),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType => f.write_str("unknown type"),
            Self::Json(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Json(Error::custom(message))
    }
}

impl From<Error> for DecodeError {
    fn from(error: Error) -> Self {
        Self::Json(error)
    }
}

/// The event of type `T` that is called `kind` and has `payload` inside.
pub(in super::super) fn decode<T: DeserializeOwned>(kind: &str, payload: &[u8]) -> Result<T, DecodeError> {
    T::deserialize(Outer { kind, payload })
}

#[derive(Clone, Copy)]
struct Outer<'de> {
    kind: &'de str,
    payload: &'de [u8],
}

impl<'de> Outer<'de> {
    /// Reads the inside, all of it.
    fn inside<T>(
        self,
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>) -> Result<T, Error>,
    ) -> Result<T, DecodeError> {
        let mut json = serde_json::Deserializer::from_slice(self.payload);
        let value = read(&mut json)?;
        json.end()?;
        Ok(value)
    }

    fn named(self, name: &str) -> Result<Self, DecodeError> {
        if name == self.kind { Ok(self) } else { Err(DecodeError::UnknownType) }
    }
}

impl<'de> Deserializer<'de> for Outer<'de> {
    type Error = DecodeError;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        // Asked here and not left to the visitor: a variant marked `#[serde(other)]` would take in every unknown event.
        if variants.contains(&self.kind) { visitor.visit_enum(self) } else { Err(DecodeError::UnknownType) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.named(name)?.inside(|json| json.deserialize_struct(name, fields, visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        self.named(name)?.inside(|json| json.deserialize_unit_struct(name, visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.named(name)?.inside(|json| json.deserialize_newtype_struct(name, visitor))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, DecodeError> {
        Err(DecodeError::custom("an event must be an enum or a struct, in serde's externally tagged form"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Outer<'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        let name: StrDeserializer<'de, DecodeError> = self.kind.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Outer<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        self.inside(|json| serde::Deserialize::deserialize(json))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        self.inside(|json| seed.deserialize(json))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.inside(|json| json.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.inside(|json| json.deserialize_struct("", fields, visitor))
    }
}

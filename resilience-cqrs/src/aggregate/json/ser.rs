//! Writes the inside as JSON and hands out the variant's name.

use serde::Serialize;
use serde::ser::{
    Error as _, Impossible, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleVariant, Serializer,
};
use serde_json::Error;

type Json<'a> = serde_json::Serializer<&'a mut Vec<u8>>;

/// The type's name and the inside as JSON.
pub(in super::super) fn encode<T: Serialize>(event: &T) -> Result<(&'static str, Vec<u8>), Error> {
    let mut payload = Vec::with_capacity(128);
    let mut json = serde_json::Serializer::new(&mut payload);
    let kind = event.serialize(Outer { json: &mut json })?;
    Ok((kind, payload))
}

struct Outer<'j, 'a> {
    json: &'j mut Json<'a>,
}

/// What collects the fields, with the name it will be known by.
struct Inside<C> {
    kind: &'static str,
    fields: C,
}

type Fields<'j, 'a> = <&'j mut Json<'a> as Serializer>::SerializeStruct;
type Items<'j, 'a> = <&'j mut Json<'a> as Serializer>::SerializeTuple;

fn no_name<T>() -> Result<T, Error> {
    Err(Error::custom("an event must be an enum or a struct, in serde's externally tagged form"))
}

macro_rules! no_name {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, _: $type) -> Result<Self::Ok, Error> { no_name() })*
    };
}

impl<'j, 'a> Serializer for Outer<'j, 'a> {
    type Ok = &'static str;
    type Error = Error;
    type SerializeSeq = Impossible<&'static str, Error>;
    type SerializeTuple = Impossible<&'static str, Error>;
    type SerializeTupleStruct = Impossible<&'static str, Error>;
    type SerializeTupleVariant = Inside<Items<'j, 'a>>;
    type SerializeMap = Impossible<&'static str, Error>;
    type SerializeStruct = Inside<Fields<'j, 'a>>;
    type SerializeStructVariant = Inside<Fields<'j, 'a>>;

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Self::Ok, Error> {
        self.json.serialize_unit()?;
        Ok(variant)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Self::Ok, Error> {
        value.serialize(self.json)?;
        Ok(variant)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Ok(Inside { kind: variant, fields: self.json.serialize_tuple(len)? })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Ok(Inside { kind: variant, fields: self.json.serialize_struct(name, len)? })
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, Error> {
        Ok(Inside { kind: name, fields: self.json.serialize_struct(name, len)? })
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<Self::Ok, Error> {
        self.json.serialize_unit()?;
        Ok(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<Self::Ok, Error> {
        value.serialize(self.json)?;
        Ok(name)
    }

    no_name! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8]
    }

    fn serialize_none(self) -> Result<Self::Ok, Error> {
        no_name()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Self::Ok, Error> {
        no_name()
    }

    fn serialize_unit(self) -> Result<Self::Ok, Error> {
        no_name()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        no_name()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        no_name()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Error> {
        no_name()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        no_name()
    }
}

impl<C: SerializeStruct<Error = Error>> SerializeStruct for Inside<C> {
    type Ok = &'static str;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.fields.serialize_field(key, value)
    }

    fn end(self) -> Result<Self::Ok, Error> {
        self.fields.end()?;
        Ok(self.kind)
    }
}

impl<C: SerializeStruct<Error = Error>> SerializeStructVariant for Inside<C> {
    type Ok = &'static str;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.fields.serialize_field(key, value)
    }

    fn end(self) -> Result<Self::Ok, Error> {
        self.fields.end()?;
        Ok(self.kind)
    }
}

impl<C: SerializeTuple<Error = Error>> SerializeTupleVariant for Inside<C> {
    type Ok = &'static str;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.fields.serialize_element(value)
    }

    fn end(self) -> Result<Self::Ok, Error> {
        self.fields.end()?;
        Ok(self.kind)
    }
}

//! Bytes that are text where what is stored is text: half the size of a list of numbers in JSON.

use std::fmt::Write;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        let hex = self.0.iter().fold(String::with_capacity(2 * self.0.len()), |mut hex, byte| {
            // A string takes whatever is written to it.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        hex.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Vec::deserialize(deserializer).map(Self);
        }
        let hex = String::deserialize(deserializer)?;
        let byte = |pair: &[u8]| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            match *pair {
                [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
                _ => None,
            }
        };
        let bytes = hex.as_bytes().chunks(2).map(byte).collect::<Option<_>>();
        bytes.map(Self).ok_or_else(|| de::Error::custom("bytes are pairs of hexadecimal digits"))
    }
}

//! Names of tenants, and positions in their logs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::log::Position;

/// The longest name, in bytes: what goes before it still fits into a name of PostgreSQL's, which has 63.
const LONGEST: usize = 48;

/// Names a tenant. Cheap to clone.
///
/// Of 1 to 48 small letters, digits, `-` and `_`, the first a letter or a digit. No file system or database folds, escapes,
/// normalises or resolves any of it, so two names are two places everywhere, and none is anywhere else.
///
/// ```
/// use resilience_cqrs::tenant::TenantId;
///
/// assert!("acme-2".parse::<TenantId>().is_ok());
/// for wrong in ["", "Acme", "acme/..", "..", "-rf", "acme.db", "acme\0", "ａｃｍｅ"] {
///     assert!(wrong.parse::<TenantId>().is_err(), "{wrong}");
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// A text is not the name of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a tenant's name has 1 to 48 small letters, digits, `-` and `_`, and begins with a letter or a digit")]
pub struct InvalidTenant;

impl TenantId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl FromStr for TenantId {
    type Err = InvalidTenant;

    fn from_str(name: &str) -> Result<Self, InvalidTenant> {
        let of_a_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let first = name.bytes().next().is_some_and(of_a_word);
        let rest = name.bytes().all(|byte| of_a_word(byte) || matches!(byte, b'-' | b'_'));
        if first && rest && name.len() <= LONGEST { Ok(Self(name.into())) } else { Err(InvalidTenant) }
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TenantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A position in the log of one tenant, to be given to clients: `acme:17`.
///
/// Comes from [`Tenant::at`](super::Tenant::at), and is a position again at [`Tenant::position`](super::Tenant::position) of the
/// same tenant.
///
/// ```
/// use resilience_cqrs::tenant::TenantPosition;
///
/// let token: TenantPosition = "acme:17".parse()?;
/// assert_eq!((token.tenant().as_str(), token.to_string()), ("acme", "acme:17".to_owned()));
/// assert!("17".parse::<TenantPosition>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TenantPosition {
    pub(super) tenant: TenantId,
    pub(super) position: Position,
}

/// A text is not a [`TenantPosition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a position is a tenant's name, a colon, and a number of at most 19 digits")]
pub struct InvalidPosition;

/// A position of another tenant's log: a mistake of whoever sent it, or an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a position in the log of {of} was given to {to}")]
pub struct ForeignPosition {
    /// Whose it is.
    pub of: TenantId,
    /// Whom it was given to.
    pub to: TenantId,
}

impl TenantPosition {
    /// Whose log it is in.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

impl fmt::Display for TenantPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.tenant, self.position)
    }
}

impl FromStr for TenantPosition {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (tenant, number) = text.split_once(':').ok_or(InvalidPosition)?;
        // Digits alone: `parse` would take a sign.
        if number.is_empty() || number.len() > 19 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidPosition);
        }
        let tenant = tenant.parse().map_err(|_| InvalidPosition)?;
        Ok(Self { tenant, position: Position::new(number.parse().map_err(|_| InvalidPosition)?) })
    }
}

impl Serialize for TenantPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TenantPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

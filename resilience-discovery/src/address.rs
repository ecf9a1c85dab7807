//! Where an endpoint is reached.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

/// Where an endpoint is reached: an IP address and port, or a host name and port that the client resolves itself.
///
/// ```
/// use resilience_discovery::Address;
///
/// let numeric: Address = "[::1]:8080".parse()?;
/// assert!(numeric.socket_addr().is_some());
/// let named: Address = "payments.internal:8080".parse()?;
/// assert_eq!((named.host().as_str(), named.port()), ("payments.internal", 8080));
/// assert!("payments.internal".parse::<Address>().is_err(), "a port is needed");
/// # Ok::<(), resilience_discovery::InvalidAddress>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Socket(SocketAddr),
    Named { host: Arc<str>, port: u16 },
}

impl Address {
    /// The host: an IP address in its own notation (without brackets), or a name.
    ///
    /// ```
    /// use resilience_discovery::Address;
    ///
    /// // What a TLS client verifies and a resolver takes has no brackets; the address's own text has them.
    /// let address = Address::try_from("[2001:db8::7]:443")?;
    /// assert_eq!(address.host(), "2001:db8::7");
    /// assert_eq!(address.to_string(), "[2001:db8::7]:443");
    /// # Ok::<(), resilience_discovery::InvalidAddress>(())
    /// ```
    pub fn host(&self) -> String {
        match &self.0 {
            Repr::Socket(addr) => addr.ip().to_string(),
            Repr::Named { host, .. } => host.to_string(),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match &self.0 {
            Repr::Socket(addr) => addr.port(),
            Repr::Named { port, .. } => *port,
        }
    }

    /// The address to connect to, unless a name has to be resolved first.
    ///
    /// ```
    /// use resilience_discovery::Address;
    ///
    /// assert!(Address::try_from("10.0.0.7:80")?.socket_addr().is_some());
    /// // Nothing resolves a name here: that waits, and its answer gets old.
    /// assert_eq!(Address::try_from("localhost:80")?.socket_addr(), None);
    /// # Ok::<(), resilience_discovery::InvalidAddress>(())
    /// ```
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Repr::Socket(addr) => Some(*addr),
            Repr::Named { .. } => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self(Repr::Socket(addr))
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(addr.into());
        }
        let invalid = || InvalidAddress(text.into());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse::<u16>().map_err(|_| invalid())?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if host.is_empty() || !host.bytes().all(is_name) {
            return Err(invalid());
        }
        Ok(Self(Repr::Named { host: host.into(), port }))
    }
}

impl TryFrom<&str> for Address {
    type Error = InvalidAddress;

    fn try_from(text: &str) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Socket(addr) => addr.fmt(f),
            Repr::Named { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no address.
///
/// ```
/// use resilience_discovery::Address;
///
/// for text in ["http://payments:80", "payments", "payments:99999", "::1"] {
///     let error = Address::try_from(text).unwrap_err();
///     assert_eq!(error.text(), text);
///     assert_eq!(error.to_string(), format!("{text:?} is not an address: give host:port"));
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address: give host:port")]
pub struct InvalidAddress(String);

impl InvalidAddress {
    /// The text that was given.
    pub fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for text in ["", ":80", "host", "host:", "host:65536", "host:-1", "http://host:80", "ho st:80", "::1", "[::1]"]
        {
            assert_eq!(text.parse::<Address>().unwrap_err().text(), text);
        }
    }

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in ["127.0.0.1:80", "[::1]:80", "payments.internal:8080"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }
}

//! The name a policy goes by in rejections, events and metrics.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A policy's name.
///
/// Names given as literals are carried by reference, so that a rejection built on a hot path touches no shared
/// reference count; only names made at run time are counted.
///
/// ```
/// use resilience_core::Name;
///
/// let payments = Name::from("payments");
/// assert_eq!(&*payments, "payments");
/// assert_eq!(payments, Name::from(String::from("payments")));
/// ```
pub struct Name(Repr);

enum Repr {
    Static(&'static str),
    /// Behind a thin pointer, so that a name is two words long: refusals lie in every future.
    Shared(Arc<Box<str>>),
}

impl Name {
    /// A name known at compile time.
    ///
    /// ```
    /// use resilience_core::Name;
    ///
    /// const STOCK: Name = Name::from_static("stock"); // fit for a constant: cloning it counts nothing
    /// let tenant = Name::from(format!("{STOCK}-7"));
    /// assert_eq!(tenant.as_str(), "stock-7");
    /// ```
    pub const fn from_static(name: &'static str) -> Self {
        Self(Repr::Static(name))
    }

    /// The name as a string slice.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Static(name) => name,
            Repr::Shared(name) => name,
        }
    }
}

impl Name {
    /// Gives up a share in a name made at run time; a literal is nobody's, and may stay.
    #[inline(always)]
    pub(crate) fn forget(&mut self) {
        if let Repr::Shared(_) = self.0 {
            self.replace(&Self::from_static(""));
        }
    }

    #[cold]
    #[inline(never)]
    fn replace(&mut self, other: &Self) {
        *self = other.clone();
    }
}

impl Clone for Name {
    #[inline]
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Repr::Static(name) => Repr::Static(name),
            Repr::Shared(name) => Repr::Shared(name.clone()),
        })
    }

    /// Writes a literal's place over another's, with nothing between that could be in the way: what a refusal does.
    #[inline(always)]
    fn clone_from(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (Repr::Static(place), Repr::Static(name)) => *place = name,
            _ => self.replace(other),
        }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Self {
        Self::from_static(name)
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self(Repr::Shared(Arc::new(name.into())))
    }
}

impl From<Arc<str>> for Name {
    fn from(name: Arc<str>) -> Self {
        Self(Repr::Shared(Arc::new((&*name).into())))
    }
}

impl From<Cow<'static, str>> for Name {
    fn from(name: Cow<'static, str>) -> Self {
        match name {
            Cow::Borrowed(name) => name.into(),
            Cow::Owned(name) => name.into(),
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

//! What a registry asks of a policy.

use std::fmt;
use std::time::Duration;

use super::Figure;
use crate::health::Status;
use crate::{ConfigError, Name};

/// A policy as those who operate the program see it. All policies of this crate are; one of your own can be.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use resilience_core::registry::{Control, ControlError, Figure, Handle, Managed, Register, Registry};
/// use resilience_core::{ConfigError, Name};
///
/// struct Flag(Arc<(Name, Mutex<bool>)>);
/// impl Managed for Flag {
///     fn name(&self) -> &Name { &self.0.0 }
///     fn pattern(&self) -> &'static str { "feature_flag" }
///     fn figures(&self) -> Vec<(&'static str, Figure)> {
///         vec![("on", Figure::Flag(*self.0.1.lock().unwrap()))]
///     }
///     fn control(&self, control: Control) -> Result<(), ControlError> {
///         let Control::Reset = control else { return Err(ControlError::Unsupported) };
///         *self.0.1.lock().unwrap() = false;
///         Ok(())
///     }
/// }
/// impl Register for Flag {
///     fn handle(&self) -> Result<Handle, ConfigError> {
///         let weak = Arc::downgrade(&self.0);
///         Ok(Handle::new(move || weak.upgrade().map(Flag)))
///     }
/// }
///
/// let registry = Registry::new();
/// let flag = Flag(Arc::new(("new_checkout".into(), Mutex::new(true))));
/// registry.add(&flag)?;
/// registry.control("new_checkout", Control::Reset)?;
/// assert!(registry.to_json().contains(r#""figures":{"on":false}"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Managed: Send + Sync {
    /// The policy's name.
    fn name(&self) -> &Name;

    /// The pattern's noun, as in its module: `circuit_breaker`.
    fn pattern(&self) -> &'static str;

    /// Whether it does its work unhindered.
    fn status(&self) -> Status {
        Status::Up
    }

    /// What there is to see, in the order in which to show it.
    fn figures(&self) -> Vec<(&'static str, Figure)>;

    /// Does what is asked, whatever the policy would do by itself.
    ///
    /// # Errors
    ///
    /// If it cannot.
    fn control(&self, control: Control) -> Result<(), ControlError> {
        let _ = control;
        Err(ControlError::Unsupported)
    }

    /// Takes over new settings; see [`config::Policy::reconfigure`](crate::config::Policy::reconfigure).
    ///
    /// # Errors
    ///
    /// If the settings are another pattern's, cannot work, or cannot change.
    #[cfg(feature = "serde")]
    fn reconfigure(&self, config: &crate::config::PolicyConfig) -> Result<(), crate::config::Problem> {
        let _ = config;
        Err(crate::config::Problem::new("", "cannot be configured while running"))
    }
}

/// A policy that can be found again as long as it is in use.
pub trait Register {
    /// The way to find it.
    ///
    /// # Errors
    ///
    /// If there is none: a timeout that is not [reconfigurable](crate::timeout::TimeoutBuilder::reconfigurable) is a
    /// plain value that nobody shares.
    fn handle(&self) -> Result<Handle, ConfigError>;
}

/// A way to a policy that does not keep it alive.
pub struct Handle(Box<dyn Fn() -> Option<Box<dyn Managed>> + Send + Sync>);

impl Handle {
    /// A way to what `upgrade` finds. It is called often: let it be the upgrade of a weak reference.
    pub fn new<M: Managed + 'static>(upgrade: impl Fn() -> Option<M> + Send + Sync + 'static) -> Self {
        Self(Box::new(move || upgrade().map(|policy| Box::new(policy) as Box<dyn Managed>)))
    }

    /// The policy, if it is still in use.
    pub fn get(&self) -> Option<Box<dyn Managed>> {
        (self.0)()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.get().map(|policy| policy.name().clone());
        f.debug_tuple("Handle").field(&name).finish()
    }
}

/// What can be asked of a policy by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// Refuse all calls until [`Reset`](Self::Reset).
    Isolate,
    /// Refuse all calls for a time.
    Open(Duration),
    /// Do as if nothing had happened before.
    Reset,
}

/// Why a policy did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no policy of that name.
    Unknown,
    /// The policy has no such control.
    Unsupported,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no policy of that name",
            Self::Unsupported => "the policy has no such control",
        })
    }
}

impl std::error::Error for ControlError {}

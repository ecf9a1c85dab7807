//! Where a private server lives: an address and a directory nobody else has.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

/// The parent of all scratch directories, so that what a killed test leaves behind can be told and swept.
const PARENT: &str = "resilience-tests";

/// Addresses tried before giving up.
const ATTEMPTS: u32 = 1_000;

/// A loopback address of this caller's own, with `port` free on it.
///
/// On Linux all of 127/8 is the loopback, so a server gets an address instead of a port: it keeps its usual port, and
/// between asking and binding nobody can take it but who guesses the address. Elsewhere there is one loopback address,
/// and the port is any that was free a moment ago.
///
/// # Errors
///
/// When nothing free was found, or `port` may not be bound by this user.
pub fn free_address(port: u16) -> io::Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if !cfg!(target_os = "linux") {
        return TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
    }
    for _ in 0..ATTEMPTS {
        // Relaxed: only that no two callers get the same number matters.
        let candidate = address(std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        match TcpListener::bind((candidate, port)) {
            Ok(_) => return Ok(SocketAddr::new(IpAddr::V4(candidate), port)),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::AddrInUse, format!("port {port} is taken on {ATTEMPTS} loopback addresses")))
}

/// The `nth` address of a process, somewhere in 127.64.0.1 to 127.127.255.254, away from what people use by hand.
fn address(process: u32, nth: u32) -> Ipv4Addr {
    const LAST_OCTETS: u32 = 254;
    const NETWORKS: u32 = 64 * 256;
    // Processes that run side by side have neighbouring ids: a network each, and the next free one when it is full.
    let network = process.wrapping_add((nth / LAST_OCTETS).wrapping_mul(4_099)) % NETWORKS;
    let [_, _, high, low] = network.to_be_bytes();
    let [.., last] = (nth % LAST_OCTETS + 1).to_be_bytes();
    Ipv4Addr::new(127, 64 + high, low, last)
}

/// A directory of this caller's own, removed when dropped.
///
/// A test that is killed leaves its directory behind; the first call in a process removes those of processes that are
/// gone.
///
/// # Errors
///
/// When the system's directory for temporary files cannot be written.
pub fn scratch_dir() -> io::Result<TempDir> {
    static SWEPT: Once = Once::new();
    let parent = std::env::temp_dir().join(PARENT);
    fs::create_dir_all(&parent)?;
    SWEPT.call_once(|| sweep(&parent));
    tempfile::Builder::new().prefix(&format!("{}-", std::process::id())).tempdir_in(parent)
}

/// Removes the directories of processes that are gone. Where that cannot be told, all stay.
fn sweep(parent: &Path) {
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split_once('-')).and_then(|(id, _)| id.parse::<u32>().ok());
        if owner.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            // Somebody else may sweep at the same time, or own it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn addresses_differ_and_stay_in_their_range() {
        let mut seen = HashSet::new();
        for nth in 0..10_000 {
            let address = address(u32::MAX, nth);
            let [first, second, _, last] = address.octets();
            assert!(first == 127 && (64..128).contains(&second) && last != 0 && last != 255, "{address}");
            assert!(seen.insert(address), "{address} twice");
        }
        assert_ne!(address(7, 0), address(8, 0));
    }

    #[test]
    fn an_address_in_use_is_not_given_out() {
        let first = free_address(45_454).unwrap();
        let _taken = TcpListener::bind(first).unwrap();
        let second = free_address(45_454).unwrap();
        assert_ne!(first, second);
        TcpListener::bind(second).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_killed_test_left_behind_is_swept_and_what_a_running_one_uses_is_not() {
        let parent = tempfile::tempdir().unwrap();
        // No process has an id as high as this on Linux (2^22 is the most it allows).
        let (dead, alive, other) = ("4194305-x", format!("{}-x", std::process::id()), "notes");
        for name in [dead, &alive, other] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        sweep(parent.path());
        let left = |name: &str| parent.path().join(name).exists();
        assert_eq!((left(dead), left(&alive), left(other)), (false, true, true));
    }
}

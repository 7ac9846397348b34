//! What the operating system says of this process.

use std::time::Duration;

/// CPU time of all threads so far; none where the system does not tell.
#[cfg(unix)]
pub fn cpu_time() -> Option<Duration> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok()?;
    let each = [usage.user_time(), usage.system_time()];
    let duration = |t: nix::sys::time::TimeVal| {
        let seconds = u64::try_from(t.tv_sec()).ok()?;
        Some(Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(t.tv_usec()).ok()?))
    };
    Some(duration(each[0])? + duration(each[1])?)
}

/// CPU time of all threads so far; none where the system does not tell.
#[cfg(not(unix))]
pub fn cpu_time() -> Option<Duration> {
    None
}

/// The most memory that this process has held at once, bytes; none where the system does not tell.
///
/// The system's other figure, that of `getrusage`, begins with what the parent process held.
#[cfg(target_os = "linux")]
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The most memory that this process has held at once, bytes; none where the system does not tell.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn peak_rss_bytes() -> Option<u64> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok()?;
    // Darwin counts bytes, the others kilobytes.
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    Some(u64::try_from(usage.max_rss()).ok()? * unit)
}

/// The most memory that this process has held at once, bytes; none where the system does not tell.
#[cfg(not(unix))]
pub fn peak_rss_bytes() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_cpu_time_and_memory() {
        let (before, held) = (cpu_time().unwrap(), peak_rss_bytes().unwrap());
        let mut bytes = vec![1_u8; 64 << 20];
        while cpu_time().unwrap() <= before {
            bytes.iter_mut().for_each(|b| *b = std::hint::black_box(b.wrapping_mul(3)));
        }
        assert!(peak_rss_bytes().unwrap() >= held.max(64 << 20));
    }
}

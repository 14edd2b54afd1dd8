//! The machine under Weir: how much memory there is to take a share of.

use std::path::{Path, PathBuf};

/// What shares are shares of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of memory: the smaller of the machine's and the container's.
    pub memory_bytes: u64,
    /// Threads that run at once.
    pub cores: usize,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let read = |path: &Path| env::real::read_text(path).ok();
        // Where neither /proc nor cgroups exist, a share is of a small machine.
        let memory_bytes = memory_bytes(read).unwrap_or(4 << 30);
        Self { memory_bytes, cores: std::thread::available_parallelism().map_or(1, usize::from) }
    }
}

/// The smallest of RAM and all limits between the process' own cgroup and the root.
fn memory_bytes(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let ram = read(Path::new("/proc/meminfo")).and_then(|text| ram_bytes(&text));
    let own = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let version_2 = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let version_1 = own.lines().find_map(|line| line.split_once(":memory:/").map(|(_, path)| path));
    let limits = [
        ("/sys/fs/cgroup", version_2.unwrap_or(""), "memory.max"),
        ("/sys/fs/cgroup/memory", version_1.unwrap_or(""), "memory.limit_in_bytes"),
    ];
    let limits = limits.into_iter().flat_map(|(root, path, file)| {
        let own: PathBuf = [root, path].iter().collect();
        let up: Vec<PathBuf> =
            own.ancestors().take_while(|dir| dir.starts_with(root)).map(Path::to_owned).collect();
        up.into_iter().map(move |dir| dir.join(file))
    });
    limits.filter_map(|file| read(&file)?.trim().parse().ok()).chain(ram).min()
}

fn ram_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)]) -> Option<u64> {
        memory_bytes(|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_smallest_limit_holds() {
        let ram = ("/proc/meminfo", "MemTotal:        8000 kB\nMemFree: 1 kB\n");
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[ram]), Some(8_192_000));
        let own = ("/proc/self/cgroup", "0::/a/b\n");
        assert_eq!(with(&[ram, own, ("/sys/fs/cgroup/a/b/memory.max", "max\n")]), Some(8_192_000));
        assert_eq!(with(&[ram, own, ("/sys/fs/cgroup/a/memory.max", "4096\n")]), Some(4096));
        assert_eq!(with(&[ram, ("/sys/fs/cgroup/memory.max", "5000\n")]), Some(5000));
        let old = ("/proc/self/cgroup", "9:memory:/docker/x\n1:cpu:/y\n");
        let limit = ("/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "77\n");
        assert_eq!(with(&[ram, old, limit]), Some(77));
    }
}

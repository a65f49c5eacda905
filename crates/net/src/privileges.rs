//! Giving up root: another user, no capabilities but a few, and no way back (capabilities(7), prctl(2)).

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities, set_keep_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// Where users and groups stand (passwd(5), group(5)).
const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// Whom a process becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    user: u32,
    group: u32,
    /// Groups that it is in besides.
    also: Vec<u32>,
}

/// What it may still do that others may not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// Listen on ports below 1024 (CAP_NET_BIND_SERVICE).
    pub bind_service: bool,
}

/// Why nothing was given up.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFault {
    /// There is no such user.
    #[error("there is no user `{0}` in {USERS}")]
    NoUser(String),
    /// There is no such group.
    #[error("there is no group `{0}` in {GROUPS}")]
    NoGroup(String),
    /// A number says nothing of a group.
    #[error("the user {0} has no entry in {USERS}: name its group too, as in \"{0}:{0}\"")]
    Groupless(u32),
    /// The lists cannot be read.
    #[error("{path} cannot be read: {error}")]
    Unreadable {
        /// Which one.
        path: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Only root can become somebody else.
    #[error("only root can become another user: start as root, or as that user")]
    NotRoot,
    /// Other threads would stay what they are.
    #[error("there are threads already")]
    Threads,
    /// The system refuses.
    #[error("the system refuses: {0}")]
    Refused(#[from] io::Error),
}

impl From<rustix::io::Errno> for IdentityFault {
    fn from(error: rustix::io::Errno) -> Self {
        IdentityFault::Refused(error.into())
    }
}

impl Identity {
    /// The one that `text` names: `user`, `user:group`, or numbers.
    ///
    /// # Errors
    /// There is none such.
    pub fn named(text: &str) -> Result<Identity, IdentityFault> {
        let read = |path| std::fs::read_to_string(path).map_err(|error| IdentityFault::Unreadable { path, error });
        Identity::find(text, &read(USERS)?, &read(GROUPS)?)
    }

    fn find(text: &str, users: &str, groups: &str) -> Result<Identity, IdentityFault> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let number = user.parse::<u32>().ok();
        // name:password:uid:gid:…
        let entry = users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|entry| {
                let of_number =
                    || number.is_some_and(|number| entry.get(2).and_then(|id| id.parse().ok()) == Some(number));
                entry.len() > 3 && (entry[0] == user || of_number())
            });
        let uid = entry.as_ref().and_then(|entry| entry[2].parse().ok()).or(number);
        let uid = uid.ok_or_else(|| IdentityFault::NoUser(user.to_owned()))?;
        // name:password:gid:members
        let entries = || groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let gid = match (group, &entry) {
            (Some(group), _) => {
                let named = entries().find(|entry| entry.len() > 2 && entry[0] == group);
                let found = named.and_then(|entry| entry[2].parse().ok()).or(group.parse().ok());
                found.ok_or_else(|| IdentityFault::NoGroup(group.to_owned()))?
            }
            (None, Some(entry)) => entry[3].parse().map_err(|_| IdentityFault::Groupless(uid))?,
            (None, None) => return Err(IdentityFault::Groupless(uid)),
        };
        let name = entry.as_ref().map_or(user, |entry| entry[0]);
        let is_member = |entry: &Vec<&str>| entry.len() > 3 && entry[3].split(',').any(|member| member == name);
        let also = entries()
            .filter(is_member)
            .filter_map(|entry| entry[2].parse().ok())
            .filter(|also| *also != gid)
            .collect();
        Ok(Identity {
            user: uid,
            group: gid,
            also,
        })
    }

    /// Becomes it, with no privileges but `kept`, which programs that are started have too. It has to come before the
    /// first thread: others would stay what they are.
    ///
    /// # Errors
    /// Only root can, or the system refuses. What was given up by then stays so.
    pub fn assume(&self, kept: Privileges) -> Result<(), IdentityFault> {
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        let is_already = rustix::process::getuid() == user && rustix::process::geteuid() == user;
        if !rustix::process::geteuid().is_root() && !is_already {
            return Err(IdentityFault::NotRoot);
        }
        if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
            return Err(IdentityFault::Threads);
        }
        if !is_already {
            let also: Vec<Gid> = self.also.iter().map(|group| Gid::from_raw(*group)).collect();
            set_thread_groups(&also)?;
            set_thread_res_gid(group, group, group)?;
            set_keep_capabilities(true)?;
            set_thread_res_uid(user, user, user)?;
            set_keep_capabilities(false)?;
        }
        kept.alone()?;
        // Nothing that is started from here on gets any of it back (no setuid programs, no file capabilities).
        set_no_new_privs(true)?;
        Ok(())
    }
}

impl Privileges {
    fn set(self) -> CapabilitySet {
        if self.bind_service {
            CapabilitySet::NET_BIND_SERVICE
        } else {
            CapabilitySet::empty()
        }
    }

    /// Gives up all others.
    fn alone(self) -> Result<(), IdentityFault> {
        let had = rustix::thread::capabilities(None)?.permitted;
        let set = self.set() & had;
        set_capabilities(
            None,
            CapabilitySets {
                effective: set,
                permitted: set,
                inheritable: set,
            },
        )?;
        // So that the process which takes over has it too: it is started by this one (capabilities(7), ambient).
        for capability in set.iter() {
            configure_capability_in_ambient_set(capability, true)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nweb:x:101:102:,,,:/srv:/bin/sh\nbroken\n";
    const GROUPS: &str = "root:x:0:\nweb:x:102:\nssl-cert:x:110:web,mail\nnogroup:x:65534:\nlogs:x:111:web\n";

    fn identity(user: u32, group: u32, also: &[u32]) -> Identity {
        Identity {
            user,
            group,
            also: also.to_vec(),
        }
    }

    #[test]
    fn users_and_groups_are_names_or_numbers() {
        for (text, expected) in [
            ("nobody", identity(65534, 65534, &[])),
            ("web", identity(101, 102, &[110, 111])),
            ("web:ssl-cert", identity(101, 110, &[111])),
            ("101", identity(101, 102, &[110, 111])),
            ("1000:1000", identity(1000, 1000, &[])),
            ("web:7", identity(101, 7, &[110, 111])),
        ] {
            assert_eq!(Identity::find(text, USERS, GROUPS).expect(text), expected, "{text}");
        }
        for (text, why) in [
            ("ghost", "there is no user `ghost`"),
            ("", "there is no user ``"),
            ("broken", "there is no user `broken`"),
            ("web:ghosts", "there is no group `ghosts`"),
            ("1000", "name its group too, as in \"1000:1000\""),
            ("-1", "there is no user `-1`"),
        ] {
            let said = Identity::find(text, USERS, GROUPS).expect_err(text).to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}

//! `include`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::super::{Loaded, Refused, load};

/// A directory of its own for one test, removed at its end.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("plimsoll-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left in the temporary directory disturbs nobody.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

const POOL: &str = "backends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\nhealth = { http = \"/\" }\n";

/// The faults as `file:line message [file:line]`.
fn told(result: &Result<Loaded, Refused>) -> Vec<String> {
    let Err(refused) = result else {
        return Vec::new();
    };
    let place = |span| {
        let position = refused.sources.position(span);
        format!(
            "{}:{}",
            position.file.rsplit('/').next().unwrap_or_default(),
            position.line
        )
    };
    refused
        .faults
        .iter()
        .map(|fault| {
            let also = fault
                .also
                .as_ref()
                .map_or(String::new(), |(span, _)| format!(" [{}]", place(*span)));
            format!("{} {}{also}", place(fault.span), fault.message)
        })
        .collect()
}

#[test]
fn included_files_of_every_format_join_the_first() {
    let directory = Directory::new();
    let first = directory.write(
        "plimsoll.toml",
        "include = [\"conf.d/*.toml\", \"conf.d/c.json\", \"*.yaml\"]\n[server]\nzone = \"z\"\n\
         [listeners.web]\nbind = \":1\"\n[[routes]]\nname = \"first\"\npool = \"a\"\n",
    );
    directory.write(
        "conf.d/b.toml",
        format!("[pools.b]\n{POOL}[[routes]]\nname = \"b\"\npool = \"b\"\n"),
    );
    directory.write(
        "conf.d/a.toml",
        format!("[server]\nworkers = 3\n[admin]\nbind = \"0.0.0.0:2\"\ntoken_file = \"t\"\n[pools.a]\n{POOL}"),
    );
    directory.write("conf.d/t", "0123456789abcdef");
    directory.write("conf.d/.hidden.toml", "nonsense");
    directory.write(
        "conf.d/c.json",
        "{ \"pools\": { \"c\": { \"backends\": [\"10.0.0.3:80\"] } } }",
    );
    directory.write("d.yaml", "routes: [{ name: d, pool: c }]\n");
    let loaded = load(&first, &|_| None);
    assert!(loaded.is_ok(), "{:#?}", told(&loaded));
    let loaded = loaded.unwrap();
    let pools: Vec<&str> = loaded.plan.pools.iter().map(|pool| pool.name.as_str()).collect();
    let routes: Vec<&str> = loaded.plan.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(pools, ["a", "b", "c"]);
    assert_eq!(routes, ["first", "b", "d"]);
    assert_eq!((loaded.plan.workers, loaded.plan.zone.as_deref()), (Some(3), Some("z")));
    assert_eq!(loaded.sources.files.len(), 5);
    let token = loaded.plan.admin.token_file.unwrap();
    assert!(
        token.ends_with("conf.d/t"),
        "relative to the file that names it: {}",
        token.display()
    );
}

#[test]
fn a_name_that_two_files_define_shows_both_places() {
    let directory = Directory::new();
    let first = directory.write(
        "plimsoll.toml",
        format!("include = \"more.toml\"\n[server]\nzone = \"a\"\n[pools.p]\n{POOL}"),
    );
    directory.write("more.toml", format!("[server]\nzone = \"b\"\n\n[pools.p]\n{POOL}"));
    assert_eq!(
        told(&load(&first, &|_| None)),
        [
            "more.toml:2 `zone` is defined twice [plimsoll.toml:3]",
            "more.toml:4 `p` is defined twice [plimsoll.toml:4]",
        ]
    );
}

#[test]
fn what_cannot_be_included_is_told_where_it_is_named() {
    let directory = Directory::new();
    directory.write("nested.toml", "include = [\"a.toml\"]\n");
    directory.write("broken.toml", "[server\n");
    directory.write("list.yaml", "- a\n");
    directory.write("x.txt", "");
    for (pattern, expected) in [
        ("gone.toml", "plimsoll.toml:1"),
        ("x.txt", "plimsoll.toml:1"),
        (
            "*/a.toml",
            "plimsoll.toml:1 `*` and `?` may stand in the file's name only, not in a directory's",
        ),
        ("nowhere/*.toml", "plimsoll.toml:1 cannot list"),
        (
            "nested.toml",
            "nested.toml:1 a file that is included cannot include others",
        ),
        ("broken.toml", "broken.toml:1 TOML:"),
        ("list.yaml", "list.yaml:1 expected a table, found a list"),
    ] {
        let first = directory.write("plimsoll.toml", format!("include = [\"{pattern}\"]\n"));
        let told = told(&load(&first, &|_| None));
        assert_eq!(told.len(), 1, "{pattern}: {told:#?}");
        assert!(told[0].starts_with(expected), "{pattern}: {told:#?}");
    }
    // A pattern that matches nothing, or the file itself, includes nothing.
    for pattern in ["none-*.toml", "plimsol?.toml"] {
        let first = directory.write("plimsoll.toml", format!("include = [\"{pattern}\"]\n"));
        assert!(load(&first, &|_| None).is_ok(), "{pattern}");
    }
}

#[test]
fn a_file_that_cannot_be_read_hides_no_error_of_the_others_and_makes_none() {
    let directory = Directory::new();
    directory.write("conf.d/broken.toml", "[pools.there\n");
    directory.write("conf.d/wrong.toml", "[pools.q]\nbackends = [\"10.0.0.1:0\"]\n");
    // Pools, listeners, a token and an address of the admin API may be in what is missing.
    let rest = "[admin]\nbind = \"0.0.0.0:1\"\n[server]\nworker = 2\n[listeners.web]\nbind = \":9900\"\npool = \"there\"\n\
                [[routes]]\nlisteners = \"there\"\npool = \"there\"\n";
    for (include, why) in [
        ("conf.d/*.toml", "broken.toml:1 TOML:"),
        ("conf.d/wrong.toml\", \"gone.toml", "plimsoll.toml:1"),
        ("conf.d/wrong.toml\", \"plimsoll.txt", "plimsoll.toml:1"),
        ("conf.d/wrong.toml\", \"gone/*.toml", "plimsoll.toml:1 cannot list"),
    ] {
        let first = directory.write("plimsoll.toml", format!("include = [\"{include}\"]\n{rest}"));
        let mut told = told(&load(&first, &|_| None));
        let at = told.iter().position(|line| line.starts_with(why));
        told.remove(at.unwrap_or_else(|| panic!("{why}: {told:#?}")));
        let mut expected = [
            "plimsoll.toml:5 unknown key `worker`",
            "wrong.toml:2 nobody can be reached at port 0",
        ];
        expected.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, expected, "{include}");
    }
    // The default of the admin's address is nobody's while a file that may name another is missing.
    let first = directory.write(
        "plimsoll.toml",
        "include = \"gone.toml\"\nlisteners.web.bind = \":9900\"\n",
    );
    assert_eq!(told(&load(&first, &|_| None)).len(), 1);
}

#[test]
fn a_file_without_an_end_is_not_read_to_it() {
    let directory = Directory::new();
    let endless = directory.0.join("endless.toml");
    std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
    let says = "the file is larger than 16 MiB";
    assert_eq!(told(&load(&endless, &|_| None)), [format!("endless.toml:1 {says}")]);
    let first = directory.write("plimsoll.toml", "include = \"endless.toml\"\n");
    assert_eq!(
        told(&load(&first, &|_| None)),
        [format!("plimsoll.toml:1 {}: {says}", endless.display())]
    );
    // The token's file has a limit of its own.
    let first = directory.write("plimsoll.toml", "admin.token_file = \"endless.toml\"\n");
    let told = told(&load(&first, &|_| None));
    assert!(told[0].contains("is longer than 4096 bytes"), "{told:#?}");
}

#[test]
fn a_first_file_that_cannot_be_read_is_told() {
    let directory = Directory::new();
    let gone = directory.0.join("gone.toml");
    assert!(told(&load(&gone, &|_| None))[0].starts_with("gone.toml:1 cannot read the file"));
    let name = directory.write("plimsoll.conf", "");
    assert_eq!(
        told(&load(&name, &|_| None)),
        ["plimsoll.conf:1 the file's extension says no format"]
    );
    let bytes = directory.write("bytes.toml", b"[server]\nzone = \"\xff\"\n");
    assert_eq!(
        told(&load(&bytes, &|_| None)),
        ["bytes.toml:2 the file is not UTF-8 text from here on"]
    );
    assert!(load(&directory.0.join("."), &|_| None).is_err());
}

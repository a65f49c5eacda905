//! Who may call the admin API, and by what way: a unix socket, and tokens that read or write.

use std::os::unix::fs::PermissionsExt;

use e2e::{Backend, Plimsoll, Script, eventually, run_command, tools};

const ON_A_SOCKET: &str = r#"
    listeners.web = { bind = ["@web@"], pool = "api" }
    pools.api = { backends = [{ name = "one", address = "@one@" }], health = false }
    [admin]
    bind = "unix:admin.sock"
"#;

fn start(one: &Backend) -> Plimsoll {
    let plimsoll = Plimsoll::config(ON_A_SOCKET).address("one", one.address()).spawn();
    eventually("it serves", || {
        plimsoll.stderr().contains("plimsoll serves").then_some(())
    });
    plimsoll
}

#[test]
fn a_unix_socket_is_for_its_user_and_for_the_command_line() {
    let one = Backend::start(Script::Echo);
    let plimsoll = start(&one);
    let socket = plimsoll.scratch().path().join("admin.sock");
    let mode = std::fs::metadata(&socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let path = socket.display().to_string();
    let read = tools::curl(&["--unix-socket", &path, "http://anything.example/api/v1/pools/api"]);
    assert!(read.stdout.contains("\"name\":\"one\""), "{read:?}");
    let admin = format!("unix:{path}");
    let changed = run_command(plimsoll.scratch(), &["weight", "api/one", "3", "--admin", &admin]);
    assert_eq!(changed.code, Some(0), "{changed:?}");
    let shown = run_command(plimsoll.scratch(), &["status", "--admin", &admin]);
    assert!(shown.code == Some(0) && shown.stdout.contains("pool api"), "{shown:?}");
}

#[test]
fn a_socket_that_was_left_behind_is_taken_over_and_one_that_answers_is_not() {
    let one = Backend::start(Script::Echo);
    let mut plimsoll = start(&one);
    let config = plimsoll.config_file().display().to_string();
    // Where the first one listens is taken anyway; its socket is found first.
    let second = run_command(plimsoll.scratch(), &["run", "-c", &config]);
    assert!(
        second.code == Some(1) && second.stderr.contains("admin cannot bind unix:"),
        "{second:?}"
    );
    plimsoll.kill();
    let socket = plimsoll.scratch().path().join("admin.sock");
    assert!(socket.exists(), "a process that is killed cleans nothing up");
    let proxy = Plimsoll::config(&ON_A_SOCKET.replace("unix:admin.sock", &format!("unix:{}", socket.display())))
        .address("one", one.address())
        .spawn();
    eventually("it serves", || proxy.stderr().contains("plimsoll serves").then_some(()));
}

#[test]
fn a_token_that_reads_is_told_that_it_changes_nothing() {
    let one = Backend::start(Script::Echo);
    let plimsoll = Plimsoll::config(
        r#"
        listeners.web = { bind = ["@web@"], pool = "api" }
        pools.api = { backends = [{ name = "one", address = "@one@" }], health = false }
        [admin]
        bind = "@admin@"
        token_file = "admin.token"
        read_token_file = "read.token"
        "#,
    )
    .address("one", one.address())
    .file("admin.token", "0123456789abcdef-writes")
    .file("read.token", "0123456789abcdef-reads")
    .start();
    let admin = plimsoll.address("admin").to_string();
    let run = |arguments: &[&str], token: &str| {
        run_command(
            plimsoll.scratch(),
            &[arguments, &["--admin", &admin, "--token-file", token]].concat(),
        )
    };
    assert_eq!(run(&["status"], "read.token").code, Some(0));
    let refused = run(&["weight", "api/one", "3"], "read.token");
    assert!(
        refused.code == Some(3) && refused.stderr.contains("only reads"),
        "{refused:?}"
    );
    assert_eq!(run(&["weight", "api/one", "3"], "admin.token").code, Some(0));
}

//! What the commands say of a configuration, and of the words on their own line.

use e2e::{Port, Scratch, run_command};

const SOUND: &str = "[listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"api\"\n\
                     [pools.api]\nbackends = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nhealth = { http = \"/\" }\n";

#[test]
fn check_and_run_refuse_the_same_in_the_same_words() {
    let port = Port::free();
    let number = port.number();
    let off = "admin.bind = \"off\"";
    for (text, says) in [
        (
            format!("{off}\nlisteners.x = {{ bind = [\":{number}\", \"127.0.0.1:{number}\"], pool = \"api\" }}"),
            "cannot be bound beside",
        ),
        (
            format!("admin = {{ bind = \"127.0.0.1:{number}\", token_file = \"gone\" }}"),
            "gone cannot be opened: No such file or directory",
        ),
        (
            format!("admin = {{ bind = \"127.0.0.1:{number}\", token_file = \"short\" }}"),
            "short holds a token of less than 16 characters",
        ),
        (
            format!("{off}\nlog.access = \"gone/access.log\""),
            "the access log cannot be opened at gone/access.log: No such file or directory",
        ),
    ] {
        let scratch = Scratch::new();
        scratch.write("short", "x");
        scratch.write("plimsoll.toml", format!("{text}\n{SOUND}"));
        let [checked, run] = ["check", "run"].map(|command| run_command(&scratch, &[command, "-c", "plimsoll.toml"]));
        assert_eq!((checked.code, run.code), (Some(1), Some(1)), "{checked:#?} {run:#?}");
        assert_eq!(checked.stderr, run.stderr);
        assert!(checked.stderr.contains(says), "{says}: {}", checked.stderr);
    }
}

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

#[test]
fn what_is_not_built_yet_is_said_with_the_code_for_usage() {
    let scratch = Scratch::new();
    for line in [
        &["import", "nginx.conf"][..],
        &["simulate", "--json"],
        &["drill", "api"],
    ] {
        let said = run_command(&scratch, line);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{line:?}: {said:?}");
        let expected = format!("`plimsoll {}", line[0]);
        assert!(
            said.stderr.contains(&expected) && said.stderr.contains("is not built yet in Plimsoll"),
            "{line:?}: {said:?}"
        );
    }
}

#[test]
fn what_is_wrong_with_the_question_of_status_has_its_own_code() {
    let scratch = Scratch::new();
    scratch.write("two", "two words");
    for (line, code, says) in [
        (&["status", "--admin", "foo"][..], 2, "\"foo\" is no admin address"),
        (&["status", "--admin", ":99999"], 2, "\":99999\" is no admin address"),
        (
            &["status", "--token-file", "gone"],
            1,
            "the token file gone cannot be read",
        ),
        (
            &["status", "--token-file", "two"],
            1,
            "the token file two holds no token",
        ),
        (
            &["status", "--token-file", "/dev/zero"],
            1,
            "the token file /dev/zero holds no token",
        ),
    ] {
        let said = run_command(&scratch, line);
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(code), ""),
            "{line:?}: {said:?}"
        );
        assert!(said.stderr.contains(says), "{line:?}: {said:?}");
    }
}

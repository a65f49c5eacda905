//! Checks by programs.

use std::path::Path;

use e2e::{Backend, Plimsoll, Script, eventually, stays};

const POOL: &str = "[listeners.web]\nbind = [\"@web@\"]\npool = \"api\"\n\
    [pools.api]\nbackends = [{ name = \"it\", address = \"@it@\" }]\n";

/// A process whose backend `it` is checked by `probe`, a program beside its configuration.
fn probing(backend: &Backend, script: &str, health: &str) -> Plimsoll {
    let health = format!("{POOL}health = {{ exec = [\"./probe\", \"-q\", \"two words\"], {health} }}\n");
    Plimsoll::config(&health)
        .address("it", backend.address())
        .program("probe", &format!("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{script}\n"))
        .environment("SECRET", "of the configuration")
        .start()
}

fn cause(plimsoll: &Plimsoll) -> String {
    let pool = plimsoll.admin("/api/v1/pools/api").json();
    pool["backends"][0]["cause"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_program_says_by_its_exit_code_how_a_backend_is() {
    let backend = Backend::named("it", Script::Echo);
    let script = "[ ! -e down ] || { echo; echo 'the disk is full'; echo more; exit 3; }";
    let plimsoll = probing(&backend, script, "interval = \"200ms\", fall = 1, rise = 1");
    plimsoll.wait_for_state("api", "it", "healthy");
    plimsoll.scratch().write("down", "");
    plimsoll.wait_for_state("api", "it", "unhealthy");
    assert_eq!(cause(&plimsoll), "checks fail: exit code 3: the disk is full");
    std::fs::remove_file(plimsoll.scratch().path().join("down")).expect("it is there");
    plimsoll.wait_for_state("api", "it", "healthy");
}

#[test]
fn a_program_is_told_whom_to_check_and_nothing_else() {
    let backend = Backend::named("it", Script::Echo);
    let script = "{ env; printf '%s\\n' \"$#\" \"$1\" \"$2\"; } > told.new; mv told.new told";
    let plimsoll = probing(&backend, script, "port = 4321");
    plimsoll.wait_for_state("api", "it", "healthy");
    let told = plimsoll.scratch().read("told");
    for line in [
        "PLIMSOLL_BACKEND_ADDRESS=127.0.0.1:4321",
        "PLIMSOLL_BACKEND_HOST=127.0.0.1",
        "PLIMSOLL_BACKEND_PORT=4321",
        "PLIMSOLL_BACKEND_POOL=api",
        "PLIMSOLL_BACKEND_NAME=it",
        "2",
        "-q",
        "two words",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    assert!(told.contains("PATH=") && !told.contains("SECRET"), "{told}");
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_all_that_it_started() {
    let backend = Backend::named("it", Script::Echo);
    let script = "sleep 1000 & echo $! > child.new; mv child.new child; sleep 1000";
    let plimsoll = probing(&backend, script, "interval = \"1m\", timeout = \"500ms\"");
    plimsoll.wait_for_state("api", "it", "unhealthy");
    assert_eq!(cause(&plimsoll), "checks fail: no answer within 500ms");
    let child = plimsoll.scratch().read("child");
    let status = format!("/proc/{}/stat", child.trim());
    // What waits to be collected by its parent is dead.
    let lives = || std::fs::read_to_string(&status).is_ok_and(|stat| !stat.contains(") Z "));
    eventually("what it started is gone", || (!lives()).then_some(()));
}

#[test]
fn a_program_may_say_much_and_leave_something_behind() {
    let backend = Backend::named("it", Script::Echo);
    // The one left behind holds the outputs open.
    let script = "echo 'it is down' >&2; head -c 1000000 /dev/zero >&2; sleep 30 & exit 1";
    let plimsoll = probing(&backend, script, "interval = \"1m\", timeout = \"20s\"");
    plimsoll.wait_for_state("api", "it", "unhealthy");
    assert_eq!(cause(&plimsoll), "checks fail: exit code 1: it is down");
    let gone = Plimsoll::config(&format!("{POOL}health = {{ exec = [\"./nowhere\"] }}\n"))
        .address("it", backend.address())
        .start();
    gone.wait_for_state("api", "it", "unhealthy");
    assert!(cause(&gone).contains("cannot be run: No such file"), "{}", cause(&gone));
}

#[test]
fn no_more_than_sixteen_programs_run_at_once() {
    let backends: Vec<String> = (1..=40).map(|at| format!("\"127.0.0.1:{at}\"")).collect();
    let config = format!(
        "[listeners.web]\nbind = [\"@web@\"]\npool = \"api\"\n[pools.api]\nbackends = [{}]\n\
         health = {{ exec = [\"./probe\"], interval = \"10m\", timeout = \"1m\" }}\n",
        backends.join(", ")
    );
    // Each waits until it may go on, so that all that may run do; none outlives a test that fails for long.
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho + >> begun\nturns=0\n\
        while [ ! -e go ] && [ $turns -lt 1000 ]; do sleep 0.05; turns=$((turns + 1)); done\n";
    let plimsoll = Plimsoll::config(&config).program("probe", script).spawn();
    let begun = || lines(&plimsoll.scratch().path().join("begun"));
    eventually("sixteen run", || (begun() >= 16).then_some(()));
    stays(std::time::Duration::from_millis(300), "no more run", || begun() == 16);
    plimsoll.scratch().write("go", "");
    eventually("each had its turn", || (begun() == 40).then_some(()));
    plimsoll.wait_for_state("api", "127.0.0.1:40", "healthy");
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

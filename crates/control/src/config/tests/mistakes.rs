//! Bad configurations: what is told, where, and what to type instead.

use super::{SOUND, told, toml};

/// Asserts that `text`, added to a sound configuration, has exactly these faults. Lines are counted from the addition.
pub(super) fn assert_told(text: &str, expected: &[&str]) {
    let result = toml(&format!("{text}\n{SOUND}"));
    assert!(result.is_err(), "accepted: {text}");
    assert_eq!(told(&result), expected, "{text}");
}

#[test]
fn unknown_keys_and_words_have_the_nearest_one_as_suggestion() {
    for (text, expected) in [
        (
            "[sever]\nworkers = 2",
            "error 1:2 «sever» unknown key `sever` (did you mean `server`?)",
        ),
        (
            "[server]\nworker = 2",
            "error 2:1 «worker» unknown key `worker` (did you mean `workers`?)",
        ),
        (
            "[log]\nlevel = \"inof\"",
            "error 2:9 «\"inof\"» unknown word \"inof\" (did you mean \"info\"? Known here: \"error\", \"warn\", \"info\", \"debug\", \"trace\")",
        ),
        (
            "[log]\naccess = \"stdot\"",
            "error 2:10 «\"stdot\"» unknown word \"stdot\" (did you mean \"stdout\"?)",
        ),
        (
            "[[routes]]\npool = \"api\"\nhegde = {}",
            "error 3:1 «hegde» unknown key `hegde` (did you mean `hedge`?)",
        ),
        (
            "[pools.x]\nbackends = [\"10.0.0.1:80\"]\nprotocol = \"h3\"",
            "error 3:12 «\"h3\"» unknown word \"h3\" (did you mean \"h1\"? Known here: \"h1\", \"h2\", \"auto\")",
        ),
        (
            "[listeners.x]\nbind = \":1\"\nprotocol = \"utp\"",
            "error 3:12 «\"utp\"» unknown word \"utp\" (\"udp\" is the nearest, and is not built yet; known here: \"http\", \"tcp\", \"tls\")",
        ),
        (
            "[pools.x]\nbackends = [\"10.0.0.1:80\"]\npolicy = { kind = \"random\", weight = 2 }",
            "error 3:29 «weight» unknown key `weight` (no other keys are known here)",
        ),
        (
            "[pools.x]\nbackends = [\"10.0.0.1:80\"]\nhealth = { htp = \"/\" }",
            "error 3:12 «htp» unknown key `htp` (did you mean `http`?)",
        ),
    ] {
        assert_told(text, &[expected]);
    }
    let result = toml("[pools.x]\nbackends = [\"10.0.0.1:80\"]\npolicy = \"least-conections\"");
    let told = told(&result);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("did you mean \"least-connections\"?"), "{told:#?}");
}

#[test]
fn values_of_the_wrong_kind_or_range_are_refused_where_they_stand() {
    for (text, expected) in [
        ("[server]\nworkers = 0", "error 2:11 «0» 0 is out of range: 1 to 1024"),
        (
            "[server]\nworkers = \"2\"",
            "error 2:11 «\"2\"» \"2\" is not a number of workers (write \"auto\" for one a core, or a number without quotes)",
        ),
        (
            "[server]\ndrain_timeout = 30",
            "error 2:17 «30» a duration needs a unit (write \"30s\" for seconds, or \"30ms\" for milliseconds)",
        ),
        (
            "[server]\nexpose_reason = \"yes\"",
            "error 2:17 «\"yes\"» expected true or false, found text",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.0/33\"]",
            "error 2:20 «\"10.0.0.0/33\"» \"10.0.0.0/33\" is not a network (write it like \"10.0.0.0/8\", \"2001:db8::/32\" or a single address)",
        ),
        (
            "[server]\nmax_connections = 99999999999999",
            "error 2:19 «99999999999999» 99999999999999 is out of range: 1 to 4294967295",
        ),
        (
            "[defaults]\ntimeouts = { connect = \"0s\" }",
            "error 2:24 «\"0s\"» a timeout of zero lets nothing through (leave the key out to have the default)",
        ),
        (
            "[defaults]\ntimeouts = { connect = \"400d\" }",
            "error 2:24 «\"400d\"» longer than a year (write at most \"365d\")",
        ),
        ("server = 3", "error 1:10 «3» expected a table, found a whole number"),
    ] {
        assert_told(text, &[expected]);
    }
}

#[test]
fn addresses_that_are_almost_right_are_put_right() {
    for (address, expected) in [
        (
            "localhost:9001",
            "\"localhost:9001\" is not an address and a port (write \"127.0.0.1:9001\")",
        ),
        (
            ":9001",
            "\":9001\" is not an address and a port (write \"127.0.0.1:9001\")",
        ),
        (
            "http://10.0.0.1:80/",
            "\"http://10.0.0.1:80/\" is not an address and a port (write \"10.0.0.1:80\")",
        ),
        (
            "10.0.0.1",
            "\"10.0.0.1\" is not an address and a port (write \"10.0.0.1:8080\")",
        ),
        (
            "::1:80",
            "\"::1:80\" is not an address and a port (write \"[::1:80]:8080\")",
        ),
        (
            "2001:db8:0:0:0:0:0:1:80",
            "\"2001:db8:0:0:0:0:0:1:80\" is not an address and a port (write \"[2001:db8::1]:80\")",
        ),
        ("10.0.0.1:0", "nobody can be reached at port 0"),
        (
            "10.0.0.1:99999",
            "\"10.0.0.1:99999\" is not an address and a port (write it like \"10.0.0.1:8080\" or \"[2001:db8::1]:8080\")",
        ),
        (
            "10.0.0.1 :80",
            "\"10.0.0.1 :80\" is not an address and a port (write it like \"10.0.0.1:8080\" or \"[2001:db8::1]:8080\")",
        ),
        (
            "app.internal:80",
            "\"app.internal:80\" is a hostname, and discovery by DNS is not built yet in Plimsoll 0.1.0 (write its address and port, like \"10.0.0.1:8080\")",
        ),
    ] {
        let expected = format!("error 2:13 «\"{address}\"» {expected}");
        assert_told(&format!("[pools.x]\nbackends = [\"{address}\"]"), &[&expected]);
    }
    for (bind, expected) in [
        (
            "\"8080\"",
            "«\"8080\"» \"8080\" is not an address and a port (write it like \"0.0.0.0:8080\", \"[::]:8080\" or \":8080\")",
        ),
        (
            "8080",
            "«8080» 8080 is not an address and a port (write \":8080\" for every address of this host)",
        ),
        (
            "\"*:80\"",
            "«\"*:80\"» \"*:80\" is not an address and a port (write \":80\", or \"[::]:80\" with IPv6)",
        ),
        (
            "\"localhost:80\"",
            "«\"localhost:80\"» \"localhost:80\" is not an address and a port (write \"127.0.0.1:80\")",
        ),
    ] {
        let expected = format!("error 2:8 {expected}");
        assert_told(&format!("[listeners.x]\nbind = {bind}"), &[&expected]);
    }
}

#[test]
fn references_are_to_what_exists() {
    for (text, expected) in [
        (
            "[listeners.x]\nbind = \":1\"\npool = \"appi\"",
            "error 3:8 «\"appi\"» there is no pool called `appi` (did you mean \"api\"?)",
        ),
        (
            "[[routes]]\npool = \"elsewhere\"",
            "error 2:8 «\"elsewhere\"» there is no pool called `elsewhere` (known here: api)",
        ),
        (
            "[[routes]]\nlisteners = [\"wbe\"]\npool = \"api\"",
            "error 2:14 «\"wbe\"» there is no listener called `wbe` (did you mean \"web\"?)",
        ),
        (
            "[listeners.db]\nbind = \":1\"\nprotocol = \"tcp\"\npool = \"api\"\n[[routes]]\nlisteners = \"db\"\npool = \"api\"",
            "error 6:13 «\"db\"» `db` speaks tcp, and routes are for http and tls (name the pool in the listener itself)",
        ),
    ] {
        assert_told(text, &[expected]);
    }
}

#[test]
fn a_pool_that_could_not_be_read_is_still_known_by_its_name() {
    assert_told(
        "[pools.broken]\nbackends = 5\n[[routes]]\npool = \"broken\"",
        &["error 2:12 «5» expected an address, like \"10.0.0.1:8080\", or a table with one, found a whole number"],
    );
}

#[test]
fn what_is_there_twice_shows_both_places() {
    for (text, expected) in [
        (
            "[pools.x]\nbackends = [\"10.0.0.1:80\", \"10.0.0.1:80\"]",
            "error 2:28 «\"10.0.0.1:80\"» 10.0.0.1:80 is in the pool `x` twice [first here: 2:13]",
        ),
        (
            "[pools.x]\nbackends = [{ name = \"a\", address = \"10.0.0.1:80\" }, { name = \"a\", address = \"10.0.0.2:80\" }]",
            "error 2:63 «\"a\"» two backends of the pool `x` are called `a` [first here: 2:22]",
        ),
        (
            "[pools.x]\nbackends = [{ name = \"10.0.0.2:80\", address = \"10.0.0.1:80\" }, \"10.0.0.2:80\"]",
            "error 2:22 «\"10.0.0.2:80\"» `10.0.0.2:80` is the address of another backend of the pool `x` (choose another name, or leave it out) [its address: 2:64]",
        ),
        (
            "[pools.x]\nbackends = [{ name = \"b\", address = \"10.0.0.2:80\" }, { name = \"10.0.0.2:80\", address = \"10.0.0.1:80\" }]",
            "error 2:63 «\"10.0.0.2:80\"» `10.0.0.2:80` is the address of another backend of the pool `x` (choose another name, or leave it out) [its address: 2:37]",
        ),
        (
            "[[routes]]\nname = \"a\"\npool = \"api\"\n[[routes]]\nname = \"a\"\npool = \"api\"",
            "error 5:8 «\"a\"» two routes are called `a` [first here: 2:8]",
        ),
        (
            "[listeners.x]\nbind = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
            "error 2:24 «\"127.0.0.1:1\"» 127.0.0.1:1 is bound twice [first here: 2:9]",
        ),
        (
            "[admin]\nbind = \"127.0.0.1:7\"\nmetrics_bind = \"127.0.0.1:7\"",
            "error 3:16 «\"127.0.0.1:7\"» 127.0.0.1:7 is bound twice [first here: 2:8]",
        ),
        (
            "[listeners.x]\nbind = \"127.0.0.1:9900\"",
            "error 2:8 «\"127.0.0.1:9900\"» the admin API is on 127.0.0.1:9900 (choose another port, or set [admin] bind)",
        ),
    ] {
        assert_told(text, &[expected]);
    }
    // Port 0 is another port each time.
    assert!(toml(&format!("{SOUND}\n[listeners.x]\nbind = [\":0\", \":0\"]")).is_ok());
}

#[test]
fn a_file_with_ten_faults_shows_ten() {
    let text = r#"
[server]
worker = 2
drain_timeout = 30
[listeners.web]
bind = "localhost:80"
pool = "nowhere"
[[routes]]
name = "a"
timeout = "0s"
pool = "elsewhere"
[[routes]]
name = "a"
[pools.api]
policy = "least-conections"
backends = ["10.0.0.1:80", "10.0.0.1:80"]
health = { http = "healthz", interval = 2 }
mode = "primary"
"#;
    let told = told(&toml(text));
    let places: Vec<&str> = told.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(
        places,
        [
            "3:1", "4:17", "6:8", "7:8", "10:11", "11:8", "12:1", "13:8", "15:10", "16:28", "17:19", "17:41", "18:1"
        ],
        "{told:#?}"
    );
}

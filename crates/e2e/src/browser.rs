//! A browser that we did not write: headless Chromium, driven over the WebDriver protocol (W3C).

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Wire;
use crate::scratch::Scratch;
use crate::wait::eventually_within;

/// How long a page may take to show what is waited for, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a key is called (WebDriver §17.4.2).
pub const TAB: &str = "\u{E004}";
/// Likewise.
pub const ENTER: &str = "\u{E007}";

/// A browser with one window. Dropping it ends it.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: Scratch,
}

impl Browser {
    /// Starts it.
    #[track_caller]
    pub fn start() -> Browser {
        let profile = Scratch::new();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver can be started: ./test installs it");
        let address = address_of(&mut driver);
        let mut browser = Browser {
            driver,
            address,
            session: String::new(),
            _profile: profile,
        };
        let data = format!("--user-data-dir={}", browser._profile.path().join("profile").display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1280,1000",
            &data,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.call("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    /// Goes to this page.
    pub fn open(&self, url: &str) {
        self.command("/url", &json!({ "url": url }));
    }

    /// What this script returns, run within the page.
    pub fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until this expression of the page's is true.
    #[track_caller]
    pub fn wait_until(&self, expression: &str) {
        let script = format!("return Boolean({expression});");
        let what = format!("{expression}; the page says: {}", self.text("body"));
        eventually_within(PATIENCE, &what, || (self.run(&script) == true).then_some(()));
    }

    /// The text of the first element that this selector finds, as it is seen.
    pub fn text(&self, selector: &str) -> String {
        let found = self.run(&format!(
            "return document.querySelector({})?.innerText ?? '';",
            json!(selector)
        ));
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Types on the keyboard, whatever has the focus.
    pub fn press(&self, keys: &str) {
        let active = self.call(
            "GET",
            &format!("/session/{}/element/active", self.session),
            &Value::Null,
        );
        let id = active
            .as_object()
            .and_then(|element| element.values().next())
            .and_then(Value::as_str);
        let path = format!("/element/{}/value", id.expect("an element has the focus"));
        self.command(&path, &json!({ "text": keys }));
    }

    /// Makes the window this large, as a phone's.
    pub fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 2, "mobile": true });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Has its user prefer `dark`, or `light`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// What the page has complained of so far: errors of scripts, refusals of its policy, what could not be loaded.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.command("/se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().cloned().unwrap_or_default();
        let bad = lines.iter().filter(|line| line["level"] == "SEVERE");
        bad.map(|line| line["message"].to_string()).collect()
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.command("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("/session/{}{path}", self.session), body)
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (address, length) = (self.address, body.len());
        let mut wire = Wire::connect(address);
        wire.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        ));
        let reply = wire.reply();
        let value = reply.json()["value"].clone();
        assert!(reply.status == 200, "{method} {path}: {value:#}");
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.call("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Where the driver listens: it says so.
fn address_of(driver: &mut Child) -> SocketAddr {
    let lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
    let mut said = lines.map_while(Result::ok);
    let line = said.find(|line| line.contains("started successfully on port"));
    let port = line.and_then(|line| line.trim_end_matches('.').rsplit(' ').next()?.parse().ok());
    SocketAddr::from(([127, 0, 0, 1], port.expect("chromedriver says its port")))
}

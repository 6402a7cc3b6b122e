//! The sandbox as the real binary, and a browser on its page.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::LoggingPrefsLogLevel;
use thirtyfour::prelude::*;

/// How long the page may take to show what it should: generous, for a machine that is busy otherwise.
const PATIENCE: Duration = Duration::from_mins(1);
const GLANCE: Duration = Duration::from_millis(40);

const HOW_TO_GET: &str = "apt-get install --no-install-recommends chromium chromium-driver fonts-noto-cjk";

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // What has ended already cannot be ended again.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The driver, which closes its browsers when it is asked to end, and leaves them behind when it is killed.
struct ChromeDriver {
    process: Running,
    port: u16,
}

impl Drop for ChromeDriver {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = write!(stream, "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(self.process.0.try_wait(), Ok(None)) {
            std::thread::sleep(GLANCE);
        }
    }
}

/// A browser on the page of a sandbox of its own. Fields are dropped in this order.
pub(super) struct Tab {
    /// Never dropped by a test that fails: that would wait for an answer which nobody is left to read. The browser
    /// ends with its driver.
    pub driver: ManuallyDrop<WebDriver>,
    pub address: String,
    _chrome: ChromeDriver,
    _sandbox: Running,
    _profile: TempDir,
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().flat_map(|name| places.iter().map(move |place| place.join(name))).find(|file| file.is_file())
}

/// Both programs; or nothing, having said so, where they are not installed. In CI they must be.
fn installed(test: &str) -> Option<(PathBuf, PathBuf)> {
    let chromium = find(&["chromium", "chromium-browser", "google-chrome"]);
    let driver = find(&["chromedriver"]);
    if let (Some(chromium), Some(driver)) = (chromium, driver) {
        return Some((chromium, driver));
    }
    let told = format!("SKIPPED {test}: no Chromium with its driver here. To run it: {HOW_TO_GET}");
    assert!(std::env::var_os("CI").as_deref() != Some(OsStr::new("true")), "{told}");
    // Past the test harness, which would keep the words of a test that passes to itself.
    std::io::stderr().write_all(format!("{told}\n").as_bytes()).unwrap();
    None
}

/// Reads lines until one gives something, then lets the rest run off so that the writer never waits.
fn first<T>(stdout: ChildStdout, mut look: impl FnMut(&str) -> Option<T>) -> T {
    let mut reader = BufReader::new(stdout);
    let mut said = String::new();
    let found = loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "it ended without what was awaited: {said}");
        if let Some(found) = look(&line) {
            break found;
        }
        said.push_str(&line);
    };
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    found
}

fn start_sandbox() -> (Running, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wechat-im-bridge"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BRIDGE_")) {
        command.env_remove(name);
    }
    command.args(["sandbox", "--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Running(command.spawn().unwrap());
    let address = first(process.0.stdout.take().unwrap(), |line| {
        // Printed for the second time when the script has been played: nothing else is asked of the machine before.
        let (_, rest) = line.strip_prefix("Or play both sides")?.split_once("http://")?;
        let host: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || ".:".contains(*c)).collect();
        Some(format!("http://{host}"))
    });
    (process, address)
}

fn start_driver(program: &PathBuf) -> ChromeDriver {
    let mut command = Command::new(program);
    command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Running(command.spawn().unwrap());
    let port = first(process.0.stdout.take().unwrap(), |line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim().trim_end_matches('.').parse().ok()
    });
    ChromeDriver { process, port }
}

impl Tab {
    /// Opens the page of a new sandbox in a new browser, 1280×800.
    pub async fn open(test: &str) -> Option<Self> {
        let (chromium, driver) = installed(test)?;
        let profile = tempfile::tempdir().unwrap();
        let (sandbox, address) = start_sandbox();
        let chrome = start_driver(&driver);
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(chromium.to_str().unwrap()).unwrap();
        for argument in [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-background-timer-throttling",
            "--disable-backgrounding-occluded-windows",
            "--disable-renderer-backgrounding",
            "--window-size=1280,800",
            "--lang=en",
            &format!("--user-data-dir={}", profile.path().display()),
        ] {
            wanted.add_arg(argument).unwrap();
        }
        wanted.set_logging_prefs("browser", LoggingPrefsLogLevel::All).unwrap();
        wanted.set_logging_prefs("performance", LoggingPrefsLogLevel::All).unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{}", chrome.port), wanted).await.unwrap();
        let tab = Self {
            driver: ManuallyDrop::new(driver),
            address,
            _chrome: chrome,
            _sandbox: sandbox,
            _profile: profile,
        };
        tab.size(1280, 800).await;
        tab.visit().await;
        Some(tab)
    }

    /// Goes to the page, and waits until it shows the sandbox's state with the bridge ready.
    pub async fn visit(&self) {
        self.driver.goto(&self.address).await.unwrap();
        self.has("#bridge[data-state=running]").await;
    }

    /// Adds a customer of this test's own, who follows and is welcomed. The sandbox plays its script first.
    pub async fn newcomer(&self) {
        let known = self.texts("#customers [role=tab]").await.len();
        self.click("#new-customer").await;
        self.has(&format!("#customers [role=tab]:nth-child({})[aria-selected=true]", known + 1)).await;
        self.has("#phone-body[data-following=false]").await;
        self.click("#follow").await;
        self.sees("#screen .theirs", "Thanks for following XX. We want to offer you the best service.").await;
    }

    /// The customer writes for the first time, which opens a conversation at an agent's; the desk turns to it.
    pub async fn asks(&self, text: &str) {
        self.say("#phone-text", text).await;
        let turned = "return document.querySelector('#talk-with').textContent \
                        .endsWith(` ${document.querySelector('#customers [aria-selected=true]').ariaLabel}`)";
        self.until(turned, "the customer's conversation at an agent's").await;
        self.sees("#messages .theirs", text).await;
    }

    pub async fn size(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.driver.cdp().send_raw("Emulation.setDeviceMetricsOverride", metrics).await.unwrap();
    }

    pub async fn run<T: for<'a> Deserialize<'a>>(&self, script: &str, arguments: Vec<Value>) -> T {
        self.driver.execute(script, arguments).await.unwrap().convert().unwrap()
    }

    /// Waits until the script gives `true`.
    pub async fn until(&self, script: &str, what: &str) {
        self.until_within(PATIENCE, script, what).await;
    }

    pub async fn until_within(&self, patience: Duration, script: &str, what: &str) {
        let deadline = Instant::now() + patience;
        while !self.run::<bool>(script, Vec::new()).await {
            if Instant::now() > deadline {
                let shown: String = self.run("return document.body.innerText", Vec::new()).await;
                panic!(
                    "the page does not show {what}; it shows\n{shown}\nand says {:?}",
                    self.console().await
                );
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Waits until an element that `css` names shows `text`.
    pub async fn sees(&self, css: &str, text: &str) {
        let script = format!(
            "return [...document.querySelectorAll({css})].some((one) => one.innerText.includes({text}))",
            css = json!(css),
            text = json!(text)
        );
        self.until(&script, &format!("{text:?} at {css}")).await;
    }

    /// Waits until there is an element that `css` names.
    pub async fn has(&self, css: &str) {
        let script = format!("return document.querySelector({}) !== null", json!(css));
        self.until(&script, css).await;
    }

    /// Waits until at least `count` elements are there that `css` names.
    pub async fn counts(&self, css: &str, count: usize) {
        let script = format!("return document.querySelectorAll({}).length >= {count}", json!(css));
        self.until(&script, &format!("{count} of {css}")).await;
    }

    pub async fn click(&self, css: &str) {
        self.has(css).await;
        self.driver.find(By::Css(css)).await.unwrap().click().await.unwrap();
    }

    /// Types into a field as a person does, and presses Enter.
    pub async fn say(&self, css: &str, text: &str) {
        let field = self.driver.find(By::Css(css)).await.unwrap();
        field.click().await.unwrap();
        field.send_keys(text).await.unwrap();
        field.send_keys(Key::Enter + "").await.unwrap();
    }

    /// The texts of all elements that `css` names.
    pub async fn texts(&self, css: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)";
        self.run(script, vec![json!(css)]).await
    }

    async fn console(&self) -> Vec<String> {
        let entries = self.driver.browser_log().await.unwrap();
        entries.into_iter().map(|entry| format!("{} {}", entry.level, entry.message)).collect()
    }

    /// The addresses of all requests since the last time.
    async fn requests(&self) -> Vec<String> {
        let entries = self.driver.get_log("performance").await.unwrap();
        let events = entries.iter().map(|entry| serde_json::from_str::<Value>(&entry.message).unwrap());
        let sent = events.filter(|event| event["message"]["method"] == "Network.requestWillBeSent");
        sent.map(|event| event["message"]["params"]["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// Ends the browser; nothing may have gone wrong in it and nothing have left the machine.
    pub async fn close(self) {
        let console = self.console().await;
        assert!(console.is_empty(), "the console is not empty: {console:#?}");
        let requests = self.requests().await;
        assert!(requests.iter().any(|url| url.ends_with("/api/state")), "{requests:?}");
        // The empty tab that a browser starts with is made of its own parts.
        let is_own =
            |url: &&String| ["chrome:", "data:", &self.address].iter().any(|own| url.starts_with(own));
        let strangers: Vec<&String> = requests.iter().filter(|url| !is_own(url)).collect();
        assert!(strangers.is_empty(), "requests left the sandbox: {strangers:?}");
        ManuallyDrop::into_inner(self.driver.clone()).quit().await.unwrap();
    }
}

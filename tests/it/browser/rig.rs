//! The sandbox as the real binary, and a browser on its page.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::LoggingPrefsLogLevel;
use thirtyfour::prelude::*;

use crate::child::{self, Log};

/// How long the page may take to show what it should: generous, for a machine that is busy otherwise.
const PATIENCE: Duration = Duration::from_mins(1);
const GLANCE: Duration = Duration::from_millis(40);

/// A process that ends with its owner: asked to first, so that it can remove its files, then killed.
struct Running(Child);

impl Running {
    /// Waits at most `timeout` until it has ended.
    fn wait(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(GLANCE);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
            self.wait(Duration::from_secs(15));
        }
        // A process that has ended cannot be killed, which is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The driver. It closes its browsers when it is asked to shut down, and leaves them behind when it is killed.
struct ChromeDriver {
    process: Running,
    port: u16,
}

impl Drop for ChromeDriver {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(15)));
            let _ = write!(stream, "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
            let _ = stream.read_to_end(&mut Vec::new());
        }
        self.process.wait(Duration::from_secs(15));
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
    _log: Log,
    /// The temporary folder of the driver, the browser and the sandbox.
    _temporary: TempDir,
}

/// Both programs, or nothing where they are not installed.
fn installed(test: &str) -> Option<(PathBuf, PathBuf)> {
    let chromium = child::find(&["chromium", "chromium-browser", "google-chrome"]);
    let both = chromium.zip(child::find(&["chromedriver"]));
    if both.is_none() {
        child::report_skip(test, "Chromium with its driver", "chromium chromium-driver fonts-noto-cjk");
    }
    both
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

fn start_sandbox(temporary: &Path, log: &Log) -> (Running, String) {
    let mut command = child::bridge();
    command.env("TMPDIR", temporary).stderr(log.file());
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

fn start_driver(program: &Path, temporary: &Path) -> ChromeDriver {
    let mut command = Command::new(program);
    command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.env("TMPDIR", temporary).env("HOME", temporary);
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
        let temporary = tempfile::tempdir().unwrap();
        let log = Log::in_folder(temporary.path());
        let (sandbox, address) = start_sandbox(temporary.path(), &log);
        let chrome = start_driver(&driver, temporary.path());
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
            &format!("--user-data-dir={}", temporary.path().join("profile").display()),
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
            _log: log,
            _temporary: temporary,
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

    /// The console's errors and warnings that concern the page. Advice on web features, which differs from one
    /// version of the browser to the next, has other sources than these.
    async fn console(&self) -> Vec<String> {
        let entries = self.driver.browser_log().await.unwrap();
        let is_the_pages =
            |source: &str| matches!(source, "console-api" | "javascript" | "network" | "security");
        let of_the_page =
            entries.into_iter().filter(|entry| entry.source.as_deref().is_none_or(is_the_pages));
        of_the_page.map(|entry| format!("{} {}", entry.level, entry.message)).collect()
    }

    /// The URLs that the page and its workers have requested since their first navigation. The browser's own
    /// documents (an empty tab's parts) make requests too; these say nothing about the page.
    async fn requests(&self) -> Vec<String> {
        let entries = self.driver.get_log("performance").await.unwrap();
        let events = entries.iter().map(|entry| serde_json::from_str::<Value>(&entry.message).unwrap());
        let sent = events.filter(|event| event["message"]["method"] == "Network.requestWillBeSent");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        sent.map(|event| {
            let request = &event["message"]["params"];
            (text(&request["documentURL"]), text(&request["request"]["url"]))
        })
        .skip_while(|(document, _)| !document.starts_with(&self.address))
        .filter(|(document, _)| !["chrome", "devtools:"].iter().any(|own| document.starts_with(own)))
        .map(|(_, url)| url)
        .collect()
    }

    /// Ends the browser; nothing may have gone wrong in it and nothing have left the machine.
    pub async fn close(self) {
        let console = self.console().await;
        assert!(console.is_empty(), "the console is not empty: {console:#?}");
        let requests = self.requests().await;
        assert!(requests.iter().any(|url| url.ends_with("/api/state")), "{requests:?}");
        let is_own = |url: &&String| url.starts_with("data:") || url.starts_with(&self.address);
        let strangers: Vec<&String> = requests.iter().filter(|url| !is_own(url)).collect();
        assert!(strangers.is_empty(), "requests left the sandbox: {strangers:?}");
        ManuallyDrop::into_inner(self.driver.clone()).quit().await.unwrap();
    }
}

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

/// The time limit for the page to show a change. It is long enough for a loaded machine.
const TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(40);

/// A process that ends with its owner. It gets SIGTERM first, so that it can remove its files, and then
/// SIGKILL.
struct Running(Child);

impl Running {
    /// Waits until the process has exited, but at most `timeout`.
    fn wait(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
            self.wait(Duration::from_secs(15));
        }
        // This fails if the process has already exited, which is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The driver. It closes its browsers after a request to shut down, but leaves them behind if it is killed.
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

/// A browser tab with the page of its own sandbox. The fields are dropped in this order.
pub(super) struct Tab {
    /// A failed test does not drop this value, because its `drop` waits for a response and would hang. The
    /// browser ends with its driver.
    pub driver: ManuallyDrop<WebDriver>,
    pub address: String,
    _chrome: ChromeDriver,
    _sandbox: Running,
    _log: Log,
    /// The temporary folder of the driver, the browser and the sandbox.
    _temporary: TempDir,
}

/// Chromium and its driver, or `None` if one of them is not installed.
fn find_programs(test: &str) -> Option<(PathBuf, PathBuf)> {
    let chromium = child::find(&["chromium", "chromium-browser", "google-chrome"]);
    let both = chromium.zip(child::find(&["chromedriver"]));
    if both.is_none() {
        child::report_skip(test, "Chromium with its driver", "chromium chromium-driver fonts-noto-cjk");
    }
    both
}

/// Reads lines until `find` returns a value for one. A thread discards the later lines, so that the writer
/// never blocks. If there is no such line, returns all that was printed.
fn find_in_output<T>(stdout: ChildStdout, mut find: impl FnMut(&str) -> Option<T>) -> Result<T, String> {
    let mut reader = BufReader::new(stdout);
    let mut output = String::new();
    let found = loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return Err(output);
        }
        if let Some(found) = find(&line) {
            break found;
        }
        output.push_str(&line);
    };
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    Ok(found)
}

fn start_sandbox(temporary: &Path, log: &Log) -> (Running, String) {
    let mut command = child::bridge();
    command.env("TMPDIR", temporary).stderr(log.file());
    // A page is too slow to type single lines that are not merged.
    command.env("BRIDGE_DESK__MERGE_BELOW", "0");
    command.args(["sandbox", "--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Running(command.spawn().unwrap());
    let address = find_in_output(process.0.stdout.take().unwrap(), |line| {
        // The last line is the page's address alone.
        line.starts_with("http://").then(|| line.trim().trim_end_matches('/').to_owned())
    });
    (process, address.unwrap_or_else(|output| panic!("the sandbox ended too early: {output}")))
}

/// Some drivers take a free port of IPv6 first, and end if that of IPv4 is not free.
const BUSY_PORT: &str = "port not available";

fn start_driver(program: &Path, temporary: &Path) -> ChromeDriver {
    let mut command = Command::new(program);
    command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.env("TMPDIR", temporary).env("HOME", temporary);
    for _ in 0..50 {
        let mut process = Running(command.spawn().unwrap());
        let port = find_in_output(process.0.stdout.take().unwrap(), |line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim().trim_end_matches('.').parse().ok()
        });
        match port {
            Ok(port) => return ChromeDriver { process, port },
            Err(output) if output.contains(BUSY_PORT) => {}
            Err(output) => panic!("the driver ended too early: {output}"),
        }
    }
    panic!("the driver found no free port in 50 starts");
}

impl Tab {
    /// Opens the page of a new sandbox in a new browser, 1280×800.
    pub async fn open(test: &str) -> Option<Self> {
        let (chromium, driver) = find_programs(test)?;
        let temporary = tempfile::tempdir().unwrap();
        let log = Log::in_folder(temporary.path());
        let (sandbox, address) = start_sandbox(temporary.path(), &log);
        let chrome = start_driver(&driver, temporary.path());
        let mut capabilities = DesiredCapabilities::chrome();
        capabilities.set_binary(chromium.to_str().unwrap()).unwrap();
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
            capabilities.add_arg(argument).unwrap();
        }
        capabilities.set_logging_prefs("browser", LoggingPrefsLogLevel::All).unwrap();
        capabilities.set_logging_prefs("performance", LoggingPrefsLogLevel::All).unwrap();
        // The driver makes an HTTP client of its own.
        let _ = wechat_im_bridge::internals::http_client::builder();
        let driver = WebDriver::new(format!("http://127.0.0.1:{}", chrome.port), capabilities).await.unwrap();
        let tab = Self {
            driver: ManuallyDrop::new(driver),
            address,
            _chrome: chrome,
            _sandbox: sandbox,
            _log: log,
            _temporary: temporary,
        };
        tab.resize(1280, 800).await;
        tab.visit().await;
        Some(tab)
    }

    /// Opens the page and waits until it shows that the bridge runs.
    pub async fn visit(&self) {
        self.driver.goto(&self.address).await.unwrap();
        self.await_element("#bridge[data-state=running]").await;
    }

    /// Adds a new customer who follows the account, and waits for the welcome.
    pub async fn add_customer(&self) {
        let known = self.texts("#customers [role=tab]").await.len();
        self.click("#new-customer").await;
        self.await_element(&format!("#customers [role=tab]:nth-child({})[aria-selected=true]", known + 1))
            .await;
        self.await_element("#phone-body[data-following=false]").await;
        self.click("#follow").await;
        self.await_text("#screen .theirs", "Thanks for following XX. We want to offer you the best service.")
            .await;
    }

    /// Sends the customer's first message, and waits until the desk shows the new conversation.
    pub async fn ask_first_question(&self, text: &str) {
        self.type_and_send("#phone-text", text).await;
        let is_open = "return document.querySelector('#talk-with').textContent \
                        .endsWith(` ${document.querySelector('#customers [aria-selected=true]').ariaLabel}`)";
        self.await_true(is_open, "the customer's conversation on the desk").await;
        self.await_text("#messages .theirs", text).await;
    }

    pub async fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.driver.cdp().send_raw("Emulation.setDeviceMetricsOverride", metrics).await.unwrap();
    }

    /// Runs a script in the page and returns its result.
    pub async fn run<T: for<'a> Deserialize<'a>>(&self, script: &str, arguments: Vec<Value>) -> T {
        self.driver.execute(script, arguments).await.unwrap().convert().unwrap()
    }

    /// Waits until the script returns `true`.
    pub async fn await_true(&self, script: &str, what: &str) {
        self.await_true_within(TIMEOUT, script, what).await;
    }

    pub async fn await_true_within(&self, timeout: Duration, script: &str, what: &str) {
        let deadline = Instant::now() + timeout;
        while !self.run::<bool>(script, Vec::new()).await {
            if Instant::now() > deadline {
                let shown: String = self.run("return document.body.innerText", Vec::new()).await;
                panic!(
                    "the page does not show {what}; it shows\n{shown}\nand its console has {:?}",
                    self.console().await
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until an element that matches `css` shows `text`.
    pub async fn await_text(&self, css: &str, text: &str) {
        let script = format!(
            "return [...document.querySelectorAll({css})].some((one) => one.innerText.includes({text}))",
            css = json!(css),
            text = json!(text)
        );
        self.await_true(&script, &format!("{text:?} at {css}")).await;
    }

    /// Waits until an element matches `css`.
    pub async fn await_element(&self, css: &str) {
        let script = format!("return document.querySelector({}) !== null", json!(css));
        self.await_true(&script, css).await;
    }

    /// Waits until at least `count` elements match `css`.
    pub async fn await_count(&self, css: &str, count: usize) {
        let script = format!("return document.querySelectorAll({}).length >= {count}", json!(css));
        self.await_true(&script, &format!("{count} of {css}")).await;
    }

    pub async fn click(&self, css: &str) {
        self.await_element(css).await;
        self.driver.find(By::Css(css)).await.unwrap().click().await.unwrap();
    }

    /// Types into a field as a person does, and presses Enter.
    pub async fn type_and_send(&self, css: &str, text: &str) {
        let field = self.driver.find(By::Css(css)).await.unwrap();
        field.click().await.unwrap();
        field.send_keys(text).await.unwrap();
        field.send_keys(Key::Enter + "").await.unwrap();
    }

    /// Shows all calls again after a search.
    pub async fn clear_search(&self) {
        let clear = "const find = document.querySelector('#wire-find'); find.value = ''; \
                     find.dispatchEvent(new Event('input'))";
        self.run::<()>(clear, vec![]).await;
    }

    /// The texts of all elements that match `css`.
    pub async fn texts(&self, css: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)";
        self.run(script, vec![json!(css)]).await
    }

    /// The console's messages about the page. Advice on web features has other sources and is left out,
    /// because it differs between versions of the browser.
    async fn console(&self) -> Vec<String> {
        let entries = self.driver.browser_log().await.unwrap();
        let is_about_page =
            |source: &str| matches!(source, "console-api" | "javascript" | "network" | "security");
        let about_page =
            entries.into_iter().filter(|entry| entry.source.as_deref().is_none_or(is_about_page));
        about_page.map(|entry| format!("{} {}", entry.level, entry.message)).collect()
    }

    /// The URLs that the page and its workers have requested since the first navigation. The requests of the
    /// browser's own documents, such as an empty tab, are left out.
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

    /// Closes the browser. Panics if the console has a message or a request went to another host.
    pub async fn close(self) {
        let console = self.console().await;
        assert!(console.is_empty(), "the console is not empty: {console:#?}");
        let requests = self.requests().await;
        assert!(requests.iter().any(|url| url.ends_with("/api/state")), "{requests:?}");
        let is_own = |url: &&String| url.starts_with("data:") || url.starts_with(&self.address);
        let foreign: Vec<&String> = requests.iter().filter(|url| !is_own(url)).collect();
        assert!(foreign.is_empty(), "requests to other hosts: {foreign:?}");
        ManuallyDrop::into_inner(self.driver.clone()).quit().await.unwrap();
    }
}

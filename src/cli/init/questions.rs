//! The questions of `init`, and how a person or a program answers them.
//!
//! Questions go to stderr. A secret is never echoed on a terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::Answers;

/// What `init` cannot know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// The key that gets the answer.
    pub key: &'static str,
    /// The flag that answers it; empty for a secret, which must not be in a list of processes.
    pub flag: &'static str,
    /// The question.
    pub text: &'static str,
    /// The answer to an empty line; empty if there is none.
    pub default: &'static str,
    /// Whether the value may be empty.
    pub may_be_empty: bool,
}

impl Question {
    /// Whether the answer is a secret.
    fn is_secret(&self) -> bool {
        self.flag.is_empty()
    }

    /// Whether the answers before it leave it open.
    pub fn is_asked(&self, answers: &Answers) -> bool {
        let is_empty = |key: &str| answers.get(key).is_none_or(String::is_empty);
        match self.key {
            "server.tls_cert" => {
                answers.get("server.public_url").is_some_and(|url| url.starts_with("https:"))
            }
            "server.tls_key" => !is_empty("server.tls_cert"),
            _ => true,
        }
    }
}

const fn question(key: &'static str, flag: &'static str, text: &'static str) -> Question {
    Question { key, flag, text, default: "", may_be_empty: false }
}

/// All questions, in their order.
pub(super) const QUESTIONS: &[Question] = &[
    question(
        "server.public_url",
        "--public-url",
        "How does the internet reach this server? Such as https://bridge.example.com",
    ),
    Question {
        may_be_empty: true,
        ..question(
            "server.tls_cert",
            "--tls-cert",
            "The certificate's PEM file; empty if a proxy on this machine has the certificate",
        )
    },
    question("server.tls_key", "--tls-key", "The PEM file of the certificate's key"),
    question(
        "wechat.app_id",
        "--app-id",
        "The Official Account's AppID (mp.weixin.qq.com, Settings and development, Basic configuration)",
    ),
    Question {
        may_be_empty: true,
        ..question("wechat.app_secret", "", "Its AppSecret, on the same page; empty if the account has none")
    },
    question(
        "im.sdk_app_id",
        "--sdk-app-id",
        "The SDKAppID of the application in Tencent Cloud IM's console",
    ),
    question("im.secret_key", "", "The application's secret key, on the same page"),
    Question {
        default: "administrator",
        ..question("im.admin", "--admin", "The application's administrator")
    },
    question("im.agents", "--agents", "The IM accounts of the agents, separated by commas"),
    question("texts.shop_name", "--shop-name", "The shop's name, as customers know it"),
    Question {
        default: "en",
        ..question("texts.locale", "--locale", "The language of the texts for customers: en, ko or zh")
    },
];

/// Asks on stdin and stderr.
#[derive(Debug)]
pub(super) struct Asker {
    is_terminal: bool,
}

impl Asker {
    /// The standard input of this process.
    pub fn stdin() -> Self {
        Self { is_terminal: io::stdin().is_terminal() }
    }

    /// Returns the answer, or the default for an empty line; `None` at the end of stdin.
    pub fn ask(&mut self, question: &Question) -> io::Result<Option<String>> {
        let is_hidden = question.is_secret() && self.is_terminal;
        // Nobody is invited to type a secret before the terminal hides it.
        let terminal = if is_hidden { Some(Hidden::new()?) } else { None };
        let default = if question.default.is_empty() { "" } else { &format!(" [{}]", question.default) };
        let hidden = if is_hidden { " (not shown)" } else { "" };
        let mut stderr = io::stderr().lock();
        write!(stderr, "{}{default}{hidden}: ", question.text)?;
        stderr.flush()?;
        drop(stderr);
        let line = if is_hidden { read_hidden()? } else { read_line()? };
        drop(terminal);
        if !self.is_terminal {
            // Nobody has pressed the Enter key.
            tell("");
        }
        Ok(line.map(|line| match line.trim() {
            "" => question.default.to_owned(),
            line => line.to_owned(),
        }))
    }
}

/// Shows a line.
pub(super) fn tell(text: &str) {
    // The answers may still be read where nobody reads the questions.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// More than any answer.
const MAX_ANSWER_BYTES: u64 = 65_536;

fn read_line() -> io::Result<Option<String>> {
    let mut line = String::new();
    let read = io::stdin().lock().take(MAX_ANSWER_BYTES).read_line(&mut line)?;
    Ok((read > 0).then_some(line))
}

/// The terminal's settings, which are restored at the end.
struct Hidden(Termios);

impl Hidden {
    /// Shows no more of what is typed. Keys that would end this process arrive as characters, so that it can first
    /// restore the settings.
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        let _ = writeln!(io::stderr().lock());
    }
}

/// Reads a line from a terminal that is [`Hidden`].
fn read_hidden() -> io::Result<Option<String>> {
    const END_OF_TEXT: u8 = 3;
    const END_OF_INPUT: u8 = 4;
    const ERASE_LINE: u8 = 21;
    let mut line = Vec::new();
    for byte in io::stdin().lock().take(MAX_ANSWER_BYTES).bytes() {
        match byte? {
            b'\n' | b'\r' => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
            END_OF_TEXT => return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
            END_OF_INPUT => return Ok(None),
            ERASE_LINE => line.clear(),
            8 | 127 => drop(line.pop()),
            byte => line.push(byte),
        }
    }
    Ok(None)
}

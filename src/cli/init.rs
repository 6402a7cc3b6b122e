//! `init`: makes a configuration from flags, variables and answers, writes it with its secrets, and checks it.
//!
//! Must never overwrite a file, never show a secret, and never leave half of the files behind.

mod files;
mod questions;
mod template;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use rand::distr::{Alphanumeric, SampleString as _};

use super::output::print;
use super::{Error, ErrorWithHint, check};
use crate::clock::Clock;
use crate::config::{self, Config, Fault, Faults, Place};
use files::{SecretFile, write_all};
use questions::{Asker, QUESTIONS, Question, tell};

/// The number of characters of the tokens that WeChat's and IM's consoles get: the most that WeChat's accepts.
const TOKEN_CHARACTERS: usize = 32;
/// The number of characters of an EncodingAESKey.
const AES_KEY_CHARACTERS: usize = 43;
/// The least with which every other key can be tried.
const TRIAL: &str = "[wechat]\ntoken = \"trial\"\n[im]\nsdk_app_id = 1\nsecret_key = \"trial\"\n";

#[derive(Debug, Default, Args)]
pub(super) struct Options {
    // Rustdoc takes no plain URL, and the help shows what rustdoc takes.
    #[arg(
        long,
        value_name = "URL",
        help = "How the internet reaches this server, such as https://bridge.example.com"
    )]
    public_url: Option<String>,
    /// The certificate's PEM file, if the bridge itself speaks HTTPS; "" if a proxy on this machine does
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The PEM file of the certificate's key
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// The Official Account's AppID
    #[arg(long, value_name = "ID")]
    app_id: Option<String>,
    /// The SDKAppID of the IM application
    #[arg(long, value_name = "NUMBER")]
    sdk_app_id: Option<String>,
    /// The administrator of the IM application
    #[arg(long, value_name = "ID")]
    admin: Option<String>,
    /// The agents' IM accounts, separated by commas
    #[arg(long, value_name = "ID,…")]
    agents: Option<String>,
    /// The name that customers read
    #[arg(long, value_name = "NAME")]
    shop_name: Option<String>,
    /// The language of the texts for customers: en, ko or zh
    #[arg(long, value_name = "LOCALE")]
    locale: Option<String>,
    /// Do not call the platforms in the check at the end
    #[arg(long)]
    offline: bool,
}

impl Options {
    /// The value of the flag for a key.
    fn flag(&self, key: &str) -> Option<&str> {
        let flag = match key {
            "server.public_url" => &self.public_url,
            "server.tls_cert" => &self.tls_cert,
            "server.tls_key" => &self.tls_key,
            "wechat.app_id" => &self.app_id,
            "im.sdk_app_id" => &self.sdk_app_id,
            "im.admin" => &self.admin,
            "im.agents" => &self.agents,
            "texts.shop_name" => &self.shop_name,
            "texts.locale" => &self.locale,
            _ => &None,
        };
        flag.as_deref()
    }
}

/// The values of the keys, by their full names.
type Answers = BTreeMap<&'static str, String>;

pub(super) fn run(options: &Options, path: &Path, clock: &Clock) -> Result<(), Error> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let file = |key, name: &str| {
        // A relative path would depend on the folder in which the bridge is started.
        let path = match folder {
            Some(folder) => std::path::absolute(folder).map(|folder| folder.join(name)),
            None => Ok(name.into()),
        };
        Ok::<_, anyhow::Error>(SecretFile { key, path: path.context("cannot find the working folder")? })
    };
    let secret_files = [
        file("wechat.token", "wechat-token")?,
        file("wechat.app_secret", "wechat-secret")?,
        file("wechat.encoding_aes_key", "wechat-aes-key")?,
        file("im.secret_key", "im-secret")?,
        file("im.callback_token", "im-callback-token")?,
    ];
    files::refuse_existing(secret_files.iter().map(|file| file.path.as_path()).chain([path]))?;
    let environment = config::environment();
    let mut answers = answers(options, &environment, &mut Asker::stdin())?;
    for (key, characters) in [
        ("wechat.token", TOKEN_CHARACTERS),
        ("wechat.encoding_aes_key", AES_KEY_CHARACTERS),
        ("im.callback_token", TOKEN_CHARACTERS),
    ] {
        answers.insert(key, Alphanumeric.sample_string(&mut rand::rng(), characters));
    }
    // An account without an AppSecret has no file for it.
    let secret_files: Vec<SecretFile> =
        secret_files.into_iter().filter(|file| !answers[file.key].is_empty()).collect();
    let text = template::config_toml(&answers, &secret_files);
    let contents = secret_files.iter().map(|file| (file.path.as_path(), answers[file.key].clone() + "\n"));
    let written = write_all(contents.chain([(path, text)]))?;
    print(&format!("wrote {}, which only this user can read\n\n", written.join(", ")))?;
    // These now stand in files, and must not be set twice.
    let is_in_a_file = |name: &str| secret_files.iter().any(|file| env_variable(file.key) == name);
    let environment = environment.into_iter().filter(|(name, _)| !is_in_a_file(name));
    let (config, warnings) = Config::load(path, true, environment)?;
    check::run(&config, &warnings, clock, options.offline)
}

/// The value of each question: of its flag, else of its variable, else what stdin answers.
fn answers(options: &Options, environment: &[(String, String)], asker: &mut Asker) -> Result<Answers, Error> {
    let mut answers = Answers::new();
    for question in QUESTIONS {
        let key = question.key;
        if !question.is_asked(&answers) {
            if options.flag(key).is_some_and(|value| !value.is_empty()) {
                let problem = "has no use: a certificate needs an https URL and both files".to_owned();
                return Err(fault(
                    question.flag,
                    problem,
                    "correct --public-url, or leave it out".to_owned(),
                )
                .into());
            }
            answers.insert(key, String::new());
            continue;
        }
        let variable = env_variable(key);
        let of_variable = || environment.iter().find(|(name, _)| *name == variable).map(|(_, value)| value);
        let given = match (options.flag(key), of_variable()) {
            (Some(value), _) => Some((question.flag.to_owned(), value)),
            (None, Some(value)) => Some((variable, value.as_str())),
            (None, None) => None,
        };
        let value = match given {
            Some((name, value)) => {
                checked(question, value).map_err(|(problem, fix)| fault(&name, problem, fix))?
            }
            None => ask(question, asker)?,
        };
        answers.insert(key, value);
    }
    Ok(answers)
}

/// Asks until the answer can be used.
fn ask(question: &Question, asker: &mut Asker) -> Result<String, Error> {
    loop {
        let Some(answer) = asker.ask(question).context("cannot read the answer")? else {
            let given_by =
                if question.flag.is_empty() { env_variable(question.key) } else { question.flag.to_owned() };
            let fix = format!("give it as {given_by}, or answer the question");
            return Err(fault(question.key, "has no value: standard input has ended".to_owned(), fix).into());
        };
        match checked(question, &answer) {
            Ok(value) => {
                if let Some(warning) = warning(question.key, &value) {
                    tell(&format!("warning: {} {warning}", question.key));
                }
                return Ok(value);
            }
            Err((problem, fix)) => tell(&format!("{} {problem}; {fix}", question.key)),
        }
    }
}

/// The value in the form in which it can be used, or what is wrong with it and how to mend it.
fn checked(question: &Question, value: &str) -> Result<String, (String, String)> {
    let value = value.trim();
    if value.is_empty() && !question.may_be_empty {
        return Err(("is empty".to_owned(), "it is needed".to_owned()));
    }
    match try_value(question.key, value) {
        Err(Faults(faults)) => match faults.into_iter().find(|fault| fault.key == question.key) {
            Some(fault) => Err((fault.problem, fault.fix)),
            None => Ok(value.to_owned()),
        },
        Ok(_) => Ok(value.to_owned()),
    }
}

/// What is suspicious about a usable value.
fn warning(key: &str, value: &str) -> Option<String> {
    let (_, warnings) = try_value(key, value).ok()?;
    warnings.into_iter().find_map(|warning| warning.strip_prefix(&format!("{key}: ")).map(str::to_owned))
}

fn try_value(key: &str, value: &str) -> Result<(Config, Vec<String>), Faults> {
    Config::from_toml_str(TRIAL, [(env_variable(key), value.to_owned())])
}

/// The variable that overrides a key.
fn env_variable(key: &str) -> String {
    format!("BRIDGE_{}", key.replacen('.', "__", 1).to_uppercase())
}

fn fault(key: &str, problem: String, fix: String) -> Faults {
    Faults(vec![Fault { key: key.to_owned(), place: Place::Unspecified, problem, fix }])
}

/// An error for a file that stands in the way.
fn exists(path: &Path) -> Error {
    let problem = format!("{} exists, and no file is ever overwritten", path.display());
    let hint = "move it away, or name another file with --config".to_owned();
    ErrorWithHint { problem, hint }.into()
}

#[cfg(test)]
mod tests;

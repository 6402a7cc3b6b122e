//! Writes log lines to stderr, as text or JSON, filtered by `log.level`.
//!
//! Stdout is reserved for results. This module redacts nothing: the code that logs a line must keep
//! secrets out of it.

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::LogFormat;

/// The reasons why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The level is not a valid filter. A checked configuration never contains such a level.
    #[error("log.level: is not a tracing filter; set error, warn, info, debug, trace or off")]
    InvalidLevel,
    /// Logging can be set up only once in a process.
    #[error("logging is already set up")]
    AlreadySetUp(#[from] TryInitError),
}

/// Sets up logging for the whole process. A second call fails.
pub fn init(format: LogFormat, level: &str) -> Result<(), InitError> {
    let colours = io::stderr().is_terminal();
    subscriber(format, level, colours, io::stderr)?.try_init()?;
    Ok(())
}

fn subscriber<W>(
    format: LogFormat,
    level: &str,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, InitError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(level).map_err(|_| InitError::InvalidLevel)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(lines.with_ansi(colours).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log_output(format: LogFormat, level: &str) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber(format, level, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(attempt = 3, "sent");
            tracing::debug!("too much");
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_is_text_without_escape_codes_or_one_json_object() {
        let text = log_output(LogFormat::Text, "info");
        assert!(text.contains("sent attempt=3") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(text.lines().count(), 1);
        let json: serde_json::Value = serde_json::from_str(&log_output(LogFormat::Json, "info")).unwrap();
        assert_eq!((&json["message"], &json["attempt"]), (&"sent".into(), &3.into()));
    }

    #[test]
    fn the_level_filters_the_lines() {
        assert_eq!(log_output(LogFormat::Text, "warn"), "");
        assert_eq!(log_output(LogFormat::Text, "off,wechat_im_bridge=debug").lines().count(), 2);
        let refused = subscriber(LogFormat::Text, "a=b=c", false, io::sink).err();
        assert!(matches!(refused, Some(InitError::InvalidLevel)));
    }
}

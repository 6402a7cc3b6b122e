//! Media from a WeChat that answers as it likes.

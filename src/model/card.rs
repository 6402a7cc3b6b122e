//! A card that an agent sends: the forms in which agents' programs and canned replies write it, and what is wrong with
//! one that is not written so.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest title, in bytes: WeChat's own editor allows 64 characters.
const MAX_TITLE_BYTES: usize = 192;
/// The longest description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 512;
/// The longest URL or page, in bytes.
const MAX_URL_BYTES: usize = 1_024;
/// The longest AppID, in bytes. WeChat's have 18.
const MAX_APP_ID_BYTES: usize = 32;
/// The most items of a menu, and the longest one, in bytes.
const MAX_ITEMS: usize = 20;
const MAX_ITEM_BYTES: usize = 128;
/// The longest text above and below the items, in bytes.
const MAX_HEAD_BYTES: usize = 512;

/// A card. WeChat would take every one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Card {
    /// A page: title, description and picture, which open the URL.
    News {
        /// The title.
        title: String,
        /// The description.
        description: String,
        /// The URL of the page.
        url: String,
        /// The URL of the picture.
        picture: String,
    },
    /// A page of a mini-program.
    MiniProgram {
        /// The title.
        title: String,
        /// The AppID of the mini-program.
        app_id: String,
        /// The page, with its parameters.
        page: String,
        /// The URL of the picture; empty if there is none.
        picture: String,
    },
    /// A menu, of which the customer taps one item.
    Menu {
        /// The text above the items; may be empty.
        head: String,
        /// What the customer reads and sends by a tap.
        items: Vec<String>,
        /// The text below the items; may be empty.
        tail: String,
    },
}

/// What is wrong with a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CardProblem {
    /// It is not a JSON object.
    #[error("it is not valid JSON")]
    NotJson,
    /// There is no such kind of card.
    #[error("wx is none of news, miniprogrampage and msgmenu")]
    UnknownKind,
    /// This member is missing or empty, or is not a text.
    #[error("{} is missing, empty or not a text", .0.name())]
    Missing(CardMember),
    /// This member is too long.
    #[error("{} is too long", .0.name())]
    TooLong(CardMember),
    /// This member is not an http or https URL.
    #[error("{} is not an http or https URL", .0.name())]
    NotUrl(CardMember),
    /// The AppID or the page contains characters that none has.
    #[error("{} contains characters that it may not have", .0.name())]
    Strange(CardMember),
    /// The menu has more than 20 items.
    #[error("list has more than 20 items")]
    TooManyItems,
}

/// A member of a card's JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CardMember {
    /// `title`
    Title,
    /// `description`
    Description,
    /// `url`
    Url,
    /// `picurl`
    Picture,
    /// `appid`
    AppId,
    /// `pagepath`
    Page,
    /// `head_content`
    Head,
    /// `list`
    Items,
    /// `tail_content`
    Tail,
}

impl CardMember {
    /// The name in the JSON object.
    pub fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Description => "description",
            Self::Url => "url",
            Self::Picture => "picurl",
            Self::AppId => "appid",
            Self::Page => "pagepath",
            Self::Head => "head_content",
            Self::Items => "list",
            Self::Tail => "tail_content",
        }
    }
}

impl Card {
    /// Reads a text that is meant as a card: a JSON object with the member `wx`. `None`: it is an ordinary text.
    pub fn of_text(text: &str) -> Option<Result<Self, CardProblem>> {
        let text = text.trim();
        if !text.starts_with('{') || !text.contains("\"wx\"") {
            return None;
        }
        Some(match serde_json::from_str::<Value>(text) {
            Ok(value) => Self::of_object(&value),
            Err(_) => Err(CardProblem::NotJson),
        })
    }

    /// Reads an object whose member `wx` names the kind of the card.
    pub fn of_object(object: &Value) -> Result<Self, CardProblem> {
        use CardMember::{AppId, Description, Head, Page, Picture, Tail, Title, Url};
        let optional = |member, max| text_of(object, member, max).map(Option::unwrap_or_default);
        let required = |member, max| text_of(object, member, max)?.ok_or(CardProblem::Missing(member));
        match object.get("wx").and_then(Value::as_str) {
            Some("news" | "link") => {
                let title = required(Title, MAX_TITLE_BYTES)?;
                let url = url(Url, required(Url, MAX_URL_BYTES)?)?;
                let picture = url_or_none(Picture, required(Picture, MAX_URL_BYTES)?)?;
                let description = optional(Description, MAX_DESCRIPTION_BYTES)?;
                // WeChat takes none without.
                let description = if description.is_empty() { title.clone() } else { description };
                Ok(Self::News { title, description, url, picture })
            }
            Some("miniprogrampage") => {
                let title = required(Title, MAX_TITLE_BYTES)?;
                let app_id = required(AppId, MAX_APP_ID_BYTES)?;
                if !app_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    return Err(CardProblem::Strange(AppId));
                }
                let page = required(Page, MAX_URL_BYTES)?;
                if page
                    .contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '<' | '>'))
                {
                    return Err(CardProblem::Strange(Page));
                }
                let picture = url_or_none(Picture, optional(Picture, MAX_URL_BYTES)?)?;
                Ok(Self::MiniProgram { title, app_id, page, picture })
            }
            Some("msgmenu") => {
                let items = items(object)?;
                Ok(Self::Menu {
                    head: optional(Head, MAX_HEAD_BYTES)?,
                    items,
                    tail: optional(Tail, MAX_HEAD_BYTES)?,
                })
            }
            _ => Err(CardProblem::UnknownKind),
        }
    }

    /// What a customer reads where no card can be shown.
    pub fn as_text(&self) -> String {
        let lines: Vec<&str> = match self {
            Self::News { title, description, url, .. } if description == title => vec![title, url],
            Self::News { title, description, url, .. } => vec![title, description, url],
            Self::MiniProgram { title, app_id, page, .. } => {
                let title = title.replace(['<', '>'], " ");
                return format!(
                    "<a href=\"https://mp.weixin.qq.com\" data-miniprogram-appid=\"{app_id}\" \
                     data-miniprogram-path=\"{page}\">{title}</a>"
                );
            }
            Self::Menu { head, items, tail } => {
                let lines = std::iter::once(head).chain(items).chain(std::iter::once(tail));
                lines.map(String::as_str).collect()
            }
        };
        lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    }

    /// What agents read of it.
    pub fn summary(&self) -> String {
        match self {
            Self::MiniProgram { title, page, .. } => format!("{title}\n{page}"),
            Self::News { .. } | Self::Menu { .. } => self.as_text(),
        }
    }

    /// The words by which people recognise it.
    pub fn title(&self) -> &str {
        match self {
            Self::News { title, .. } | Self::MiniProgram { title, .. } => title,
            Self::Menu { head, items, .. } => {
                if head.is_empty() {
                    items.first().map_or("", String::as_str)
                } else {
                    head
                }
            }
        }
    }
}

/// The text of a member, without control characters; `None` if it is missing or blank.
fn text_of(object: &Value, member: CardMember, max_bytes: usize) -> Result<Option<String>, CardProblem> {
    // The other names are WeChat's, and those of the card that an agent gets of a customer.
    let others: &[&str] = match member {
        CardMember::Picture => &["picurl", "thumb_url"],
        CardMember::Head => &["head_content", "head"],
        CardMember::Tail => &["tail_content", "tail"],
        _ => &[],
    };
    let names = others.iter().copied().chain([member.name()]);
    match { names }.find_map(|name| object.get(name)) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => text(value, member, max_bytes),
    }
}

fn text(value: &Value, member: CardMember, max_bytes: usize) -> Result<Option<String>, CardProblem> {
    let Some(words) = value.as_str() else { return Err(CardProblem::Missing(member)) };
    let kept: String = words.trim().chars().filter(|c| !c.is_control() || *c == '\n').collect();
    if kept.len() > max_bytes {
        return Err(CardProblem::TooLong(member));
    }
    Ok(Some(kept).filter(|kept| !kept.is_empty()))
}

/// The items of a menu: texts, or objects with the text in `content`, as WeChat's own are.
fn items(object: &Value) -> Result<Vec<String>, CardProblem> {
    const MISSING: CardProblem = CardProblem::Missing(CardMember::Items);
    let list = ["list", "items"].into_iter().find_map(|name| object.get(name)).and_then(Value::as_array);
    let list = list.filter(|list| !list.is_empty()).ok_or(MISSING)?;
    if list.len() > MAX_ITEMS {
        return Err(CardProblem::TooManyItems);
    }
    let item = |item: &Value| {
        let words = item.get("content").unwrap_or(item);
        text(words, CardMember::Items, MAX_ITEM_BYTES)?.ok_or(MISSING)
    };
    list.iter().map(item).collect()
}

fn url(member: CardMember, text: String) -> Result<String, CardProblem> {
    let rest = ["https://", "http://"].iter().find_map(|scheme| {
        let begin = text.get(..scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
    });
    let is_url = rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace)
    });
    if is_url { Ok(text) } else { Err(CardProblem::NotUrl(member)) }
}

fn url_or_none(member: CardMember, text: String) -> Result<String, CardProblem> {
    if text.is_empty() { Ok(text) } else { url(member, text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_documented_form_is_read() {
        let news = Card::of_object(&json!({
            "wx": "news", "title": " Spring sale ", "url": "https://e.com/s", "picurl": "https://e.com/s.jpg"
        }));
        let Ok(Card::News { title, description, .. }) = &news else { panic!("{news:?}") };
        assert_eq!((title.as_str(), description.as_str()), ("Spring sale", "Spring sale"));
        assert_eq!(news.unwrap().as_text(), "Spring sale\nhttps://e.com/s");
        let page = Card::of_object(&json!({
            "wx": "miniprogrampage", "title": "My <orders>", "appid": "wx1", "pagepath": "pages/o?x=1",
            "thumb_url": "http://e.com/t"
        }));
        let text = page.unwrap().as_text();
        assert!(text.contains("data-miniprogram-path=\"pages/o?x=1\">My  orders </a>"), "{text}");
        let menu = Card::of_text(
            r#" {"wx":"msgmenu","head_content":"Size?","list":["S",{"id":"7","content":"M"}],"tail":"Thanks"}"#,
        );
        let menu = menu.unwrap().unwrap();
        assert_eq!((menu.title(), menu.as_text().as_str()), ("Size?", "Size?\nS\nM\nThanks"));
        for text in ["hello", "{hello}", "{\"a\":1}", ""] {
            assert_eq!(Card::of_text(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_card_is_named() {
        use CardMember::{AppId, Description, Items, Page, Picture, Title, Url};
        let ok = json!({"wx": "news", "title": "t", "url": "https://e.com", "picurl": "https://e.com/p"});
        let page = json!({"wx": "miniprogrampage", "title": "t", "appid": "wx1", "pagepath": "p"});
        let menu = json!({"wx": "msgmenu", "list": ["a"]});
        for (form, name, value, problem) in [
            (&ok, "wx", json!("music"), CardProblem::UnknownKind),
            (&ok, "wx", json!(7), CardProblem::UnknownKind),
            (&ok, "title", json!(" \u{7}"), CardProblem::Missing(Title)),
            (&ok, "title", json!(7), CardProblem::Missing(Title)),
            (&ok, "title", json!("长".repeat(65)), CardProblem::TooLong(Title)),
            (&ok, "description", json!("x".repeat(513)), CardProblem::TooLong(Description)),
            (&ok, "url", json!("e.com"), CardProblem::NotUrl(Url)),
            (&ok, "url", json!("https:///x"), CardProblem::NotUrl(Url)),
            (&ok, "url", json!("https://e.com/a b"), CardProblem::NotUrl(Url)),
            (&ok, "url", json!(null), CardProblem::Missing(Url)),
            (&ok, "picurl", json!("javascript:x"), CardProblem::NotUrl(Picture)),
            (&ok, "picurl", json!(""), CardProblem::Missing(Picture)),
            (&page, "appid", json!("wx 1"), CardProblem::Strange(AppId)),
            (&page, "pagepath", json!("p\"x"), CardProblem::Strange(Page)),
            (&page, "pagepath", json!(null), CardProblem::Missing(Page)),
            (&page, "picurl", json!("t.jpg"), CardProblem::NotUrl(Picture)),
            (&menu, "list", json!([]), CardProblem::Missing(Items)),
            (&menu, "list", json!(["a", {"id": "1"}]), CardProblem::Missing(Items)),
            (&menu, "list", json!(vec!["a"; 21]), CardProblem::TooManyItems),
            (&menu, "list", json!(["x".repeat(129)]), CardProblem::TooLong(Items)),
        ] {
            assert!(Card::of_object(form).is_ok());
            let mut object = form.clone();
            object[name] = value;
            assert_eq!(Card::of_object(&object), Err(problem), "{object}");
        }
        assert_eq!(Card::of_text("{\"wx\":\"news\",}"), Some(Err(CardProblem::NotJson)));
    }
}

use super::super::xml;
use super::*;

fn event(name: &str, elements: &str) -> WechatEvent {
    read(&xml::read(format!("<xml>{elements}</xml>").as_bytes()).unwrap(), name)
}

fn s(text: &str) -> String {
    text.to_owned()
}

fn click(name: &str) -> Event {
    Event::MenuClick { name: s(name) }
}

fn other(name: &str) -> Event {
    Event::Other { name: s(name) }
}

/// Checks one row: the typed event, its name and its meaning for the bridge.
fn check(name: &str, elements: &str, typed: &WechatEvent, meaning: &Event) {
    let read = event(name, elements);
    assert_eq!(&read, typed, "{name} {elements}");
    assert_eq!(read.name(), name);
    assert_eq!(&Event::from(&read), meaning);
    assert_eq!(meaning.name(), name);
    assert_eq!(&event(&name.to_ascii_uppercase(), elements), typed, "{name} in capitals");
    assert_eq!(&event(&name.to_ascii_lowercase(), elements), typed, "{name} in small letters");
}

#[test]
fn follows_and_scans() {
    let follow = |scene: Option<&str>, ticket: Option<&str>| WechatEvent::Subscribe {
        scene: scene.map(s),
        ticket: ticket.map(s),
    };
    for (elements, typed) in [
        ("<EventKey><![CDATA[]]></EventKey>", follow(None, None)),
        ("", follow(None, None)),
        (
            "<EventKey><![CDATA[qrscene_shop42]]></EventKey><Ticket><![CDATA[TICKET_1]]></Ticket>",
            follow(Some("shop42"), Some("TICKET_1")),
        ),
        ("<EventKey>last_trade_no_4200000000202311140000000000</EventKey>", follow(None, None)),
    ] {
        check("subscribe", elements, &typed, &Event::Subscribe);
    }
    check("unsubscribe", "<EventKey/>", &WechatEvent::Unsubscribe, &Event::Unsubscribe);
    check(
        "SCAN",
        "<EventKey>shop42</EventKey><Ticket>T</Ticket>",
        &WechatEvent::Scan { scene: s("shop42"), ticket: Some(s("T")) },
        &Event::Scan,
    );
    check(
        "LOCATION",
        "<Latitude>23.137466</Latitude><Longitude>113.352425</Longitude><Precision>119.385040</Precision>",
        &WechatEvent::Location {
            latitude: Some(23.137_466),
            longitude: Some(113.352_425),
            precision: Some(119.385_040),
        },
        &other("LOCATION"),
    );
}

#[test]
fn menu_items() {
    let scan = ScanCode { kind: s("qrcode"), result: s("https://example.com/p/1") };
    let info = "<EventKey><![CDATA[MENU_SCAN]]></EventKey><ScanCodeInfo><ScanType><![CDATA[qrcode]]></ScanType>\
                <ScanResult><![CDATA[https://example.com/p/1]]></ScanResult></ScanCodeInfo>";
    check(
        "CLICK",
        "<EventKey><![CDATA[MENU_HELP]]></EventKey>",
        &WechatEvent::Click { key: s("MENU_HELP") },
        &click("CLICK"),
    );
    check(
        "scancode_push",
        info,
        &WechatEvent::ScanCodePush { key: s("MENU_SCAN"), scan: scan.clone() },
        &click("scancode_push"),
    );
    check(
        "scancode_waitmsg",
        info,
        &WechatEvent::ScanCodeWaitMsg { key: s("MENU_SCAN"), scan },
        &click("scancode_waitmsg"),
    );
    check(
        "VIEW",
        "<EventKey><![CDATA[https://example.com/]]></EventKey><MenuId>7</MenuId>",
        &WechatEvent::View { url: s("https://example.com/"), menu_id: Some(s("7")) },
        &other("VIEW"),
    );
    check(
        "view_miniprogram",
        "<EventKey>pages/index</EventKey><MenuId>7</MenuId>",
        &WechatEvent::ViewMiniProgram { page_path: s("pages/index"), menu_id: Some(s("7")) },
        &other("view_miniprogram"),
    );
    for (name, source) in [
        ("pic_sysphoto", PictureSource::SysPhoto),
        ("pic_photo_or_album", PictureSource::PhotoOrAlbum),
        ("pic_weixin", PictureSource::Weixin),
    ] {
        check(
            name,
            "<EventKey>K</EventKey><SendPicsInfo><Count>2</Count><PicList><item><PicMd5Sum>a1</PicMd5Sum></item>\
             <item><PicMd5Sum><![CDATA[b2]]></PicMd5Sum></item></PicList></SendPicsInfo>",
            &WechatEvent::Pictures { source, key: s("K"), count: 2, md5_sums: vec![s("a1"), s("b2")] },
            &other(name),
        );
    }
    check(
        "location_select",
        "<EventKey>K</EventKey><SendLocationInfo><Location_X><![CDATA[23]]></Location_X><Location_Y><![CDATA[113]]>\
         </Location_Y><Scale><![CDATA[15]]></Scale><Label><![CDATA[广州市]]></Label><Poiname><![CDATA[塔]]></Poiname>\
         </SendLocationInfo>",
        &WechatEvent::LocationSelect {
            key: s("K"),
            place: Place {
                latitude: s("23"),
                longitude: s("113"),
                scale: s("15"),
                label: s("广州市"),
                poi_name: s("塔"),
            },
        },
        &other("location_select"),
    );
}

#[test]
fn jobs() {
    for status in ["success", "failed:user block", "failed: system failed"] {
        check(
            "TEMPLATESENDJOBFINISH",
            &format!("<MsgID>200163836</MsgID><Status><![CDATA[{status}]]></Status>"),
            &WechatEvent::TemplateSendJobFinish { msg_id: s("200163836"), status: s(status) },
            &other("TEMPLATESENDJOBFINISH"),
        );
    }
    check(
        "MASSSENDJOBFINISH",
        "<MsgID>1000001625</MsgID><Status>err(30003)</Status><TotalCount>4</TotalCount><FilterCount>3</FilterCount>\
         <SentCount>2</SentCount><ErrorCount>1</ErrorCount><CopyrightCheckResult><Count>1</Count><ResultList><item>\
         <ArticleIdx>1</ArticleIdx></item></ResultList><CheckState>2</CheckState></CopyrightCheckResult>",
        &WechatEvent::MassSendJobFinish {
            msg_id: s("1000001625"),
            status: s("err(30003)"),
            total: 4,
            filtered: 3,
            sent: 2,
            failed: 1,
        },
        &other("MASSSENDJOBFINISH"),
    );
    check(
        "PUBLISHJOBFINISH",
        "<PublishEventInfo><publish_id>2247503051</publish_id><publish_status>0</publish_status>\
         <article_id><![CDATA[A1]]></article_id><article_detail><count>1</count><item><idx>1</idx>\
         <article_url><![CDATA[https://example.com/a]]></article_url></item></article_detail>\
         <fail_idx>1</fail_idx><fail_idx>2</fail_idx></PublishEventInfo>",
        &WechatEvent::PublishJobFinish {
            publish_id: s("2247503051"),
            status: Some(0),
            article_id: Some(s("A1")),
            article_urls: vec![s("https://example.com/a")],
            failed: vec![1, 2],
        },
        &other("PUBLISHJOBFINISH"),
    );
}

#[test]
fn agent_sessions_and_authorisations() {
    let subject = Subject { open_id: s("oX"), app_id: s("wx1"), union_id: Some(s("u")) };
    let about = "<OpenID>oX</OpenID><AppID>wx1</AppID><UnionID>u</UnionID><RevokeInfo>201</RevokeInfo>";
    for (name, elements, typed) in [
        (
            "kf_create_session",
            "<KfAccount>a@b</KfAccount>",
            WechatEvent::KfCreateSession { account: s("a@b") },
        ),
        (
            "kf_close_session",
            "<KfAccount>a@b</KfAccount><CloseType>KF</CloseType>",
            WechatEvent::KfCloseSession { account: s("a@b"), close_type: Some(s("KF")) },
        ),
        (
            "kf_switch_session",
            "<FromKfAccount>a@b</FromKfAccount><ToKfAccount>c@b</ToKfAccount>",
            WechatEvent::KfSwitchSession { from: s("a@b"), to: s("c@b") },
        ),
        ("user_info_modified", about, WechatEvent::UserInfoModified(subject.clone())),
        (
            "user_authorization_revoke",
            about,
            WechatEvent::UserAuthorizationRevoke { subject: subject.clone(), info: Some(s("201")) },
        ),
        (
            "user_authorization_cancellation",
            about,
            WechatEvent::UserAuthorizationCancellation(subject.clone()),
        ),
        (
            "debug_demo",
            "<debug_str>hello world</debug_str>",
            WechatEvent::DebugDemo { debug_str: s("hello world") },
        ),
    ] {
        check(name, elements, &typed, &other(name));
    }
}

#[test]
fn an_unknown_event_keeps_its_name() {
    let unknown =
        event("subscribe_msg_popup_event", "<SubscribeMsgPopupEvent><List/></SubscribeMsgPopupEvent>");
    assert_eq!(unknown, WechatEvent::Other { name: s("subscribe_msg_popup_event") });
    assert_eq!(Event::from(&unknown), other("subscribe_msg_popup_event"));
}

#[test]
fn an_event_without_its_fields_is_still_that_event() {
    assert_eq!(
        event("scancode_push", ""),
        WechatEvent::ScanCodePush { key: s(""), scan: ScanCode::default() }
    );
    assert_eq!(event("CLICK", ""), WechatEvent::Click { key: s("") });
    assert!(matches!(event("PUBLISHJOBFINISH", ""), WechatEvent::PublishJobFinish { status: None, .. }));
}

use super::super::xml;
use super::*;

fn event(name: &str, elements: &str) -> Event {
    read(&xml::read(format!("<xml>{elements}</xml>").as_bytes()).unwrap(), name)
}

/// The details of an event that has a key and no other field.
fn keyed(key: Option<&str>) -> EventDetails {
    EventDetails { key: key.map(str::to_owned), ..EventDetails::default() }
}

/// Checks one row in every spelling. `details` need not have the name.
fn check(name: &str, elements: &str, kind: EventKind, details: &EventDetails) {
    let details = EventDetails { name: name.to_owned(), ..details.clone() };
    for spelling in [name.to_owned(), name.to_ascii_uppercase(), name.to_ascii_lowercase()] {
        let read = event(&spelling, elements);
        assert_eq!(read, Event { kind, details: details.clone() }, "{spelling} {elements}");
        assert_eq!(read.name(), name);
    }
}

#[test]
fn follows_and_scans() {
    let from_code = |key: &str, scene: &str, ticket: &str| EventDetails {
        scene: Some(scene.to_owned()),
        ticket: Some(ticket.to_owned()),
        ..keyed(Some(key))
    };
    let paid = "last_trade_no_4200000000202311140000000000";
    for (elements, details) in [
        ("<EventKey><![CDATA[]]></EventKey>".to_owned(), keyed(None)),
        (String::new(), keyed(None)),
        (
            "<EventKey><![CDATA[qrscene_shop42]]></EventKey><Ticket><![CDATA[TICKET_1]]></Ticket>".to_owned(),
            from_code("qrscene_shop42", "shop42", "TICKET_1"),
        ),
        (format!("<EventKey>{paid}</EventKey>"), keyed(Some(paid))),
    ] {
        check("subscribe", &elements, EventKind::Subscribe, &details);
    }
    check("unsubscribe", "<EventKey/>", EventKind::Unsubscribe, &keyed(None));
    check(
        "SCAN",
        "<EventKey>shop42</EventKey><Ticket>T</Ticket>",
        EventKind::Scan,
        &from_code("shop42", "shop42", "T"),
    );
    let position =
        "<Latitude>23.137466</Latitude><Longitude>113.352425</Longitude><Precision>119.385040</Precision>";
    check("LOCATION", position, EventKind::Other, &keyed(None));
}

#[test]
fn menu_items() {
    let info = "<EventKey><![CDATA[MENU_SCAN]]></EventKey><ScanCodeInfo><ScanType><![CDATA[qrcode]]></ScanType>\
                <ScanResult><![CDATA[https://example.com/p/1]]></ScanResult></ScanCodeInfo>";
    let help = "<EventKey><![CDATA[MENU_HELP]]></EventKey>";
    check("CLICK", help, EventKind::MenuClick, &keyed(Some("MENU_HELP")));
    check("scancode_push", info, EventKind::MenuClick, &keyed(Some("MENU_SCAN")));
    check("scancode_waitmsg", info, EventKind::MenuClick, &keyed(Some("MENU_SCAN")));
    for (name, elements, key) in [
        (
            "VIEW",
            "<EventKey><![CDATA[https://example.com/]]></EventKey><MenuId>7</MenuId>",
            "https://example.com/",
        ),
        ("view_miniprogram", "<EventKey>pages/index</EventKey><MenuId>7</MenuId>", "pages/index"),
        (
            "location_select",
            "<EventKey>K</EventKey><SendLocationInfo><Location_X><![CDATA[23]]></Location_X>\
             <Location_Y><![CDATA[113]]></Location_Y><Scale><![CDATA[15]]></Scale>\
             <Label><![CDATA[广州市]]></Label><Poiname><![CDATA[塔]]></Poiname></SendLocationInfo>",
            "K",
        ),
    ] {
        check(name, elements, EventKind::Other, &keyed(Some(key)));
    }
    for name in ["pic_sysphoto", "pic_photo_or_album", "pic_weixin"] {
        check(
            name,
            "<EventKey>K</EventKey><SendPicsInfo><Count>2</Count><PicList><item><PicMd5Sum>a1</PicMd5Sum></item>\
             <item><PicMd5Sum><![CDATA[b2]]></PicMd5Sum></item></PicList></SendPicsInfo>",
            EventKind::Other,
            &keyed(Some("K")),
        );
    }
}

#[test]
fn jobs() {
    let ended = |status: &str| EventDetails { status: Some(status.to_owned()), ..EventDetails::default() };
    for status in ["success", "failed:user block", "failed: system failed"] {
        let elements = format!("<MsgID>200163836</MsgID><Status><![CDATA[{status}]]></Status>");
        check("TEMPLATESENDJOBFINISH", &elements, EventKind::Other, &ended(status));
    }
    check(
        "MASSSENDJOBFINISH",
        "<MsgID>1000001625</MsgID><Status>err(30003)</Status><TotalCount>4</TotalCount><FilterCount>3</FilterCount>\
         <SentCount>2</SentCount><ErrorCount>1</ErrorCount><CopyrightCheckResult><Count>1</Count><ResultList><item>\
         <ArticleIdx>1</ArticleIdx></item></ResultList><CheckState>2</CheckState></CopyrightCheckResult>",
        EventKind::Other,
        &ended("err(30003)"),
    );
    check(
        "PUBLISHJOBFINISH",
        "<PublishEventInfo><publish_id>2247503051</publish_id><publish_status>0</publish_status>\
         <article_id><![CDATA[A1]]></article_id><article_detail><count>1</count><item><idx>1</idx>\
         <article_url><![CDATA[https://example.com/a]]></article_url></item></article_detail>\
         <fail_idx>1</fail_idx><fail_idx>2</fail_idx></PublishEventInfo>",
        EventKind::Other,
        &ended("0"),
    );
}

#[test]
fn agent_sessions_and_authorisations() {
    let about = "<OpenID>oX</OpenID><AppID>wx1</AppID><UnionID>u</UnionID><RevokeInfo>201</RevokeInfo>";
    for (name, elements) in [
        ("kf_create_session", "<KfAccount>a@b</KfAccount>"),
        ("kf_close_session", "<KfAccount>a@b</KfAccount><CloseType>KF</CloseType>"),
        ("kf_switch_session", "<FromKfAccount>a@b</FromKfAccount><ToKfAccount>c@b</ToKfAccount>"),
        ("user_info_modified", about),
        ("debug_demo", "<debug_str>hello world</debug_str>"),
    ] {
        check(name, elements, EventKind::Other, &keyed(None));
    }
    for name in ["user_authorization_revoke", "user_authorization_cancellation"] {
        check(name, about, EventKind::Unsubscribe, &keyed(None));
        let root = xml::read(format!("<xml>{about}</xml>").as_bytes()).unwrap();
        let about_whom = subject(&root, &read(&root, name));
        assert_eq!(about_whom.as_ref().map(OpenId::as_str), Some("oX"), "the platform sends it");
        assert_eq!(subject(&root, &read(&root, "unsubscribe")), None);
    }
}

#[test]
fn an_unknown_event_keeps_its_name_as_it_is_spelled() {
    for name in ["subscribe_msg_popup_event", "User_View_Card"] {
        let unknown = event(name, "<SubscribeMsgPopupEvent><List/></SubscribeMsgPopupEvent>");
        assert_eq!((unknown.kind, unknown.name()), (EventKind::Other, name));
    }
}

#[test]
fn an_event_without_its_fields_is_still_that_event() {
    for (name, kind) in [
        ("subscribe", EventKind::Subscribe),
        ("SCAN", EventKind::Scan),
        ("CLICK", EventKind::MenuClick),
        ("scancode_push", EventKind::MenuClick),
        ("PUBLISHJOBFINISH", EventKind::Other),
    ] {
        check(name, "", kind, &keyed(None));
    }
}

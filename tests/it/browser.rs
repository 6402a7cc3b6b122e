//! Tests of the sandbox's page in a real Chromium, which clicks and types as customer and as agent. The
//! sandbox is the real binary.
//!
//! Every test ends with [`rig::Tab::close`], which fails for a console error and for a request to another
//! host. The tests start only two browsers, because more would slow down the other tests.

mod conversation;
mod desk;
mod drills;
mod rig;
mod usability;
mod wire;

use rig::Tab;

#[tokio::test]
async fn customer_and_agent_use_the_page_with_mouse_and_keyboard() {
    let Some(tab) = Tab::open("the sandbox's page in a browser").await else { return };
    conversation::the_page_begins_empty_and_says_what_to_do(&tab).await;
    conversation::a_customer_and_an_agent_talk_by_clicking_and_typing(&tab).await;
    conversation::message_text_is_never_markup(&tab).await;
    conversation::the_phone_shows_that_the_agent_types_and_a_held_answer_can_be_taken_back(&tab).await;
    desk::customers_wait_in_line_while_nobody_is_signed_in(&tab).await;
    desk::what_could_not_be_sent_stays_in_its_field(&tab).await;
    wire::a_message_can_be_followed_through_every_call(&tab).await;
    usability::the_keyboard_reaches_every_control_and_no_control_traps_it(&tab).await;
    usability::three_languages_are_complete_and_remembered(&tab).await;
    usability::both_themes_are_remembered_and_legible(&tab).await;
    usability::the_page_fits_a_desktop_and_a_phone(&tab).await;
    conversation::a_reload_and_a_second_tab_show_the_same(&tab).await;
    tab.close().await;
}

#[tokio::test]
async fn every_drill_passes_and_the_page_stays_small_after_a_thousand_calls() {
    let Some(tab) = Tab::open("the sandbox's drills in a browser").await else { return };
    drills::every_drill_passes_after_one_click(&tab).await;
    wire::the_page_stays_small_after_a_thousand_calls(&tab).await;
    tab.close().await;
}

//! The sandbox's page in a real Chromium: clicked and typed on as customer and as agent, against the real binary.
//!
//! Every tab is closed through [`rig::Tab::close`], which turns red for a console error and for a request that left
//! the loopback. Only two browsers are started: more of them would starve whatever else is being tested.

mod conversation;
mod drills;
mod looks;
mod rig;
mod wire;

use rig::Tab;

#[tokio::test]
async fn the_page_is_played_by_hand() {
    let Some(tab) = Tab::open("the sandbox's page by hand").await else { return };
    conversation::a_customer_and_an_agent_talk_by_clicking_and_typing(&tab).await;
    conversation::what_somebody_writes_is_never_markup(&tab).await;
    wire::a_message_is_followed_through_every_step(&tab).await;
    looks::everything_is_done_with_the_keyboard_and_nothing_traps_it(&tab).await;
    looks::three_languages_are_complete_and_remembered(&tab).await;
    looks::both_themes_are_remembered_and_can_be_read(&tab).await;
    looks::it_fits_a_desktop_and_a_phone(&tab).await;
    conversation::a_reload_and_a_second_tab_show_the_same(&tab).await;
    tab.close().await;
}

#[tokio::test]
async fn each_drill_comes_true_and_a_thousand_calls_keep_the_page_bounded() {
    let Some(tab) = Tab::open("the sandbox's drills by hand").await else { return };
    drills::each_is_clicked_and_comes_true(&tab).await;
    wire::a_thousand_calls_keep_the_page_bounded(&tab).await;
    tab.close().await;
}

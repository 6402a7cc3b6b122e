//! Who is on duty: agents sign in and out, and customers wait in line meanwhile.

use super::rig::Tab;

pub(super) async fn customers_wait_in_line_while_nobody_is_signed_in(tab: &Tab) {
    tab.add_customer().await;
    for at in [1, 2] {
        tab.click(&format!("#agents [role=tab]:nth-child({at})")).await;
        tab.click("#presence[aria-checked=true]").await;
        tab.await_element("#presence[aria-checked=false]").await;
        tab.await_element(&format!("#agents [role=tab]:nth-child({at}) .lamp:not([data-in])")).await;
    }
    // The bridge knows it when it has answered both callbacks.
    tab.type_and_send("#wire-find", "State.StateChange").await;
    tab.await_text("#wire-tally", "2 of").await;
    tab.clear_search().await;
    tab.await_element("#signed-out:not([hidden])").await;
    tab.type_and_send("#phone-text", "Is anybody there?").await;
    tab.await_text("#screen .theirs", "Customers ahead of you: 0.").await;
    tab.await_text("#line-title", "In line: 1").await;
    tab.await_element("#line-list button").await;
    tab.await_element("#ends [data-end=parked]:not([data-none])").await;
    tab.click("#agents [role=tab]:nth-child(1)").await;
    tab.click("#presence").await;
    tab.await_text("#messages .theirs", "Is anybody there?").await;
    tab.await_text("#line-title", "Nobody waits").await;
    tab.click("#agents [role=tab]:nth-child(2)").await;
    tab.click("#presence").await;
    tab.await_element("#presence[aria-checked=true]").await;
}

pub(super) async fn what_could_not_be_sent_stays_in_its_field(tab: &Tab) {
    tab.run::<()>(
        "window.realFetch = window.fetch; window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))",
        vec![],
    )
    .await;
    tab.type_and_send("#phone-text", "Do not lose me").await;
    tab.await_text("#notice", "The sandbox does not answer").await;
    let is_kept = "return document.querySelector('#phone-text').value === 'Do not lose me'";
    tab.await_true(is_kept, "the text that could not be sent").await;
    tab.run::<()>(
        "window.fetch = window.realFetch; document.querySelector('#phone-text').value = ''",
        vec![],
    )
    .await;
}

//! Conversations to masked tokens.
#![allow(clippy::unwrap_used)]

mod common;

use common::{ASSISTANT, END, HELLO, USER, tokenizer};
use fastdraft_data::show::{Style, render};
use fastdraft_data::{ChatTemplate, DataError, MaskedTokens, Message};

const TEMPLATE: &str = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

fn template() -> ChatTemplate {
    ChatTemplate::new(TEMPLATE, None, Some("<|end|>")).unwrap()
}

fn talk() -> Vec<Message> {
    vec![
        Message::user("a"),
        Message::assistant("hello"),
        Message::user("b"),
        Message::assistant("c"),
    ]
}

#[test]
fn answers_and_their_end_are_marked() {
    let tokens = template().encode_with_mask(&tokenizer(), &talk()).unwrap();
    let (a, b, c, newline) = (97, 98, 99, 10);
    let expected = [
        (USER, false),
        (a, false),
        (END, false),
        (newline, false),
        (ASSISTANT, false),
        (HELLO, true),
        (END, true),
        (newline, false),
        (USER, false),
        (b, false),
        (END, false),
        (newline, false),
        (ASSISTANT, false),
        (c, true),
        (END, true),
        (newline, false),
    ];
    let found: Vec<_> = tokens.ids.into_iter().zip(tokens.mask).collect();
    assert_eq!(found, expected);
}

#[test]
fn ids_begin_with_the_prompt_and_spell_the_text() {
    let (template, tokenizer) = (template(), tokenizer());
    let tokens = template.encode_with_mask(&tokenizer, &talk()).unwrap();
    let prompt = template.encode(&tokenizer, &talk()[..1], true).unwrap();
    assert!(tokens.ids.starts_with(&prompt));
    let text = template.render(&talk(), false).unwrap();
    assert_eq!(tokenizer.decode(&tokens.ids, false).unwrap(), text);
}

#[test]
fn a_conversation_without_answers_is_an_error() {
    let error = template()
        .encode_with_mask(&tokenizer(), &[Message::user("a")])
        .unwrap_err();
    assert!(
        matches!(
            error,
            DataError::Mask {
                trained: 0,
                total: 4
            }
        ),
        "{error}"
    );
}

#[test]
fn a_conversation_of_nothing_but_answer_is_an_error() {
    let bare = ChatTemplate::new(
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        None,
        None,
    );
    let error = bare
        .unwrap()
        .encode_with_mask(&tokenizer(), &[Message::assistant("abc")])
        .unwrap_err();
    assert!(
        matches!(
            error,
            DataError::Mask {
                trained: 3,
                total: 3
            }
        ),
        "{error}"
    );
}

#[test]
fn templates_that_rewrite_earlier_turns_are_errors() {
    let source = "{{ messages|length }}{% for m in messages %}{{ m.content }}{% endfor %}";
    let template = ChatTemplate::new(source, None, None).unwrap();
    let error = template
        .encode_with_mask(&tokenizer(), &talk())
        .unwrap_err();
    assert!(
        matches!(error, DataError::TemplateRewrites { message: 1 }),
        "{error}"
    );
}

#[test]
fn shown_masks_set_answers_apart() {
    let tokens = MaskedTokens::from_answer(&[USER, 97], &[HELLO, END]).unwrap();
    assert_eq!(
        render(&tokenizer(), &tokens, Style::Plain).unwrap(),
        "<|user|>a⟦hello<|end|>⟧"
    );
    assert_eq!(
        render(&tokenizer(), &tokens, Style::Ansi).unwrap(),
        "\x1b[2m<|user|>a\x1b[0m\x1b[32mhello<|end|>\x1b[0m"
    );
}

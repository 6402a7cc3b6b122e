-- What was done about a question that nobody answers.

ALTER TABLE question ADD COLUMN steps INTEGER NOT NULL DEFAULT 0;    -- how many of the steps after `desk.first_answer_s`
ALTER TABLE question ADD COLUMN stepped_at INTEGER NOT NULL DEFAULT 0; -- when the last one was taken; 0: none was

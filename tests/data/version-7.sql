-- A row in every table of schema 7.
INSERT INTO seen (key, at, reply, carries) VALUES ('push 1', 11, NULL, NULL), ('push 2', 12, 'carried', 'oA');
INSERT INTO customer (openid, known, number, imported, agent, active_at, next_seq, message_until, message_left,
                      event_until, event_left, known_since, behind)
    VALUES ('oA', 1, 2, 1, 'user1', 23, 24, 25, 4, 27, 3, 29, 30);
INSERT INTO message (id, direction, kind, state, openid, agent, orders, part, seq, random, source, created_at,
                     due_at, attempts, attempt_at, settled_at, last_error, erase, noted, riding, rides_on,
                     ride_parts, turn, said_s, unlooked) VALUES
    (31, 0, 0, 0, 'oA', 'user1', '[{"TextToAgent":"a"},{"TextToAgent":"b"}]', 1, 32, 33, 'push 1', 34, 0, 2, 36,
     0, 'busy', 0, 0, 0, NULL, 0, NULL, 0, 0),
    (41, 1, 0, 1, 'oA', 'user1', '[{"TextToCustomer":"c"}]', 0, 42, 43, 'call 1', 44, 45, 1, 46,
     0, NULL, 0, 0, 1, 'push 2', 1, NULL, 48, 0),
    (51, 1, 0, 3, 'oA', 'user1', '[{"TextToCustomer":"d"}]', 0, 52, 53, 'call 2', 54, 0, 1, 56,
     57, '45015', 0, 1, 0, NULL, 0, 61, 58, 1),
    (61, 1, 0, 3, 'oA', 'user1', '[{"TextToCustomer":"e"}]', 0, 62, 63, 'call 3', 64, 0, 1, 66,
     67, '45015', 0, 0, 0, NULL, 0, 51, 68, 1);
INSERT INTO step (id, openid, message, at, what, detail, took_ms) VALUES (71, 'oA', 31, 72, 'sendmsg', '500', 73);
INSERT INTO fact (name, value) VALUES ('pulse', '80'), ('looked_at', '81'), ('operator_bell', '82'),
    ('media_link_key', '83');
INSERT INTO media (name, openid, origin, created_at, hash, size) VALUES
    ('00000000000000000000000000000001', 'oA', 0, 91, NULL, NULL),
    ('00000000000000000000000000000002', 'oA', 0, 92, NULL, NULL);
INSERT INTO media_orphan (hash) VALUES ('0101010101010101010101010101010101010101010101010101010101010101');
INSERT INTO looked (openid, agent, newest_s, at, start) VALUES ('oA', 'user1', 101, 102, 103);
INSERT INTO upload (hash, kind, media_id, until)
    VALUES ('0202020202020202020202020202020202020202020202020202020202020202', 'image', 'M', 9000000000000);
INSERT INTO fetch (name, mp3, openid, wanted, created_at, due_at, attempts, running)
    VALUES ('00000000000000000000000000000001', '00000000000000000000000000000002', 'oA',
            '{"what":"Voice","ids":["m"],"url":null,"mp3":"00000000000000000000000000000002"}', 111, 0, 3, 0);

-- A database as the deployed server made it: zero-date defaults, utf8 of at most 3 bytes, a MyISAM table, no index
-- on message_boxes and messages; drifted by a column and a table; with a few rows. Made for the tests, by hand.

CREATE TABLE apps (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, api_id int NOT NULL, api_hash varchar(256) NOT NULL,
  title varchar(128) NOT NULL, short_name varchar(128) NOT NULL,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  deleted_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', UNIQUE KEY (api_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE auth_keys (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, auth_id bigint NOT NULL, body varchar(512) NOT NULL,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  deleted_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', UNIQUE KEY (auth_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE auth_phone_transactions (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, transaction_hash varchar(255) NOT NULL,
  api_id int NOT NULL, api_hash varchar(255) NOT NULL, phone_number varchar(32) NOT NULL, code varchar(8) NOT NULL,
  attempts int NOT NULL DEFAULT 0, created_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', is_deleted tinyint NOT NULL DEFAULT 0,
  UNIQUE KEY (transaction_hash)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE auth_salts (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, auth_id bigint NOT NULL, salt bigint NOT NULL,
  valid_since int NOT NULL DEFAULT 0, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  deleted_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', KEY (auth_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE auth_users (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, auth_id bigint NOT NULL,
  user_id int NOT NULL DEFAULT 0, hash bigint NOT NULL DEFAULT 0, device_model varchar(128) NOT NULL,
  platform varchar(64) NOT NULL, system_version varchar(64) NOT NULL, api_id int NOT NULL DEFAULT 0,
  app_name varchar(64) NOT NULL, app_version varchar(64) NOT NULL, date_created int NOT NULL DEFAULT 0,
  date_active int NOT NULL DEFAULT 0, ip varchar(64) NOT NULL, country varchar(64) NOT NULL,
  region varchar(64) NOT NULL, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  deleted_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', UNIQUE KEY (auth_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE auths (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, auth_id bigint NOT NULL, api_id int NOT NULL,
  device_model varchar(255) NOT NULL, system_version varchar(255) NOT NULL, app_version varchar(255) NOT NULL,
  system_lang_code varchar(255) NOT NULL, lang_pack varchar(255) NOT NULL, lang_code varchar(255) NOT NULL,
  connection_hash bigint NOT NULL DEFAULT 0, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  deleted_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', UNIQUE KEY (auth_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE chat_users (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, chat_id int NOT NULL, user_id int NOT NULL,
  participant_type tinyint NOT NULL DEFAULT 0, inviter_user_id int NOT NULL DEFAULT 0,
  invited_at int NOT NULL DEFAULT 0, joined_at int NOT NULL DEFAULT 0, state tinyint NOT NULL DEFAULT 0,
  created_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', KEY (chat_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE chats (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, creator_user_id int NOT NULL,
  create_random_id bigint NOT NULL, access_hash bigint NOT NULL, participant_count int NOT NULL,
  title varchar(255) NOT NULL, title_changer_user_id int NOT NULL,
  title_changed_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', title_change_random_id bigint NOT NULL,
  avatar_changer_user_id int NOT NULL, avatar_changed_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  avatar_change_random_id bigint NOT NULL, is_public tinyint NOT NULL DEFAULT 0, about text NOT NULL,
  topic varchar(255) DEFAULT NULL, is_hidden tinyint NOT NULL DEFAULT 0, version int NOT NULL DEFAULT 1,
  created_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  UNIQUE KEY (title_changer_user_id, title_change_random_id),
  UNIQUE KEY (avatar_changer_user_id, avatar_change_random_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE client_updates_state (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, auth_key_id bigint NOT NULL,
  user_id int NOT NULL, pts int NOT NULL DEFAULT 0, qts int NOT NULL DEFAULT 0, seq int NOT NULL DEFAULT 0,
  date2 int NOT NULL DEFAULT 0, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  deleted_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  UNIQUE KEY (auth_key_id, user_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE devices (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, auth_id bigint NOT NULL, user_id int NOT NULL,
  token_type tinyint NOT NULL, token varchar(255) NOT NULL, state tinyint NOT NULL DEFAULT 0,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00') ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE message_boxes (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id int NOT NULL,
  sender_user_id int NOT NULL, message_box_type tinyint NOT NULL, peer_type tinyint NOT NULL DEFAULT 0,
  peer_id int NOT NULL, pts int NOT NULL, message_id int NOT NULL, media_unread tinyint NOT NULL DEFAULT 0,
  state tinyint NOT NULL, date2 int NOT NULL, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00') ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE messages (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, sender_user_id int NOT NULL, peer_type int NOT NULL,
  peer_id int NOT NULL, random_id bigint NOT NULL, message_type tinyint NOT NULL DEFAULT 0, message_data text NOT NULL,
  date2 int NOT NULL DEFAULT 0, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  deleted_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00') ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE reports (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, auth_id bigint NOT NULL, user_id int NOT NULL,
  peer_type int NOT NULL, peer_id int NOT NULL, reason tinyint NOT NULL, content varchar(10000) NOT NULL,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE seq_updates_ngen (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, seq_name varchar(255) NOT NULL,
  seq bigint NOT NULL, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', UNIQUE KEY (seq_name)) ENGINE=MyISAM DEFAULT CHARSET=utf8;

CREATE TABLE tmp_passwords (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, auth_id bigint NOT NULL, user_id int NOT NULL,
  password_hash varchar(512) NOT NULL, period int NOT NULL, tmp_password varchar(512) NOT NULL,
  valid_until int NOT NULL, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE user_contacts (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, owner_user_id int NOT NULL,
  contact_user_id int NOT NULL, is_blocked tinyint NOT NULL DEFAULT 0, date2 int NOT NULL,
  is_deleted tinyint NOT NULL DEFAULT 0, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  UNIQUE KEY (owner_user_id, contact_user_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE user_dialogs (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id int NOT NULL, peer_type tinyint NOT NULL,
  peer_id int NOT NULL, is_pinned tinyint NOT NULL DEFAULT 0, top_message int NOT NULL DEFAULT 0,
  read_inbox_max_id int NOT NULL DEFAULT 0, read_outbox_max_id int NOT NULL DEFAULT 0,
  unread_count int NOT NULL DEFAULT 0, unread_mentions_count int NOT NULL DEFAULT 0, date2 int NOT NULL,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  UNIQUE KEY (user_id, peer_type, peer_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE user_notify_settings (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id int NOT NULL,
  peer_type tinyint NOT NULL, peer_id int NOT NULL, show_previews tinyint NOT NULL DEFAULT 0,
  silent tinyint NOT NULL DEFAULT 0, mute_until int NOT NULL DEFAULT 0, sound varchar(255) NOT NULL DEFAULT 'default',
  is_deleted tinyint NOT NULL DEFAULT 0, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  UNIQUE KEY (user_id, peer_type, peer_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE user_privacys (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id int NOT NULL,
  password varchar(64) NOT NULL, recovery_mail varchar(64) NOT NULL, status_timestamp tinyint NOT NULL DEFAULT 0,
  chat_invite tinyint NOT NULL DEFAULT 0, phone_call tinyint NOT NULL DEFAULT 0, ttl int NOT NULL DEFAULT 0,
  ttl_created_at int NOT NULL, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', UNIQUE KEY (user_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE users (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, access_hash bigint NOT NULL,
  first_name varchar(255) NOT NULL, last_name varchar(255) NOT NULL, username varchar(255) NOT NULL,
  phone varchar(32) NOT NULL, country_code varchar(2) NOT NULL, bio varchar(255) NOT NULL, about varchar(512) NOT NULL,
  state int NOT NULL DEFAULT 0, is_bot tinyint NOT NULL DEFAULT 0, is_verified tinyint NOT NULL DEFAULT 0,
  deleted tinyint NOT NULL DEFAULT 0, deleted_reason varchar(500) NOT NULL,
  created_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  deleted_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', UNIQUE KEY (phone)) ENGINE=InnoDB DEFAULT CHARSET=utf8;

CREATE TABLE banned (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, phone varchar(32) NOT NULL,
  banned_time bigint NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8;

INSERT INTO users (id, access_hash, first_name, last_name, username, phone, country_code, bio, about, deleted_reason)
  VALUES (1, -9223372036854775808, 'Ann', '李', 'ann', '861', 'CN', '', 'first', ''),
  (2, 9223372036854775807, 'Ben', '', '', '862', 'CN', '', '', ''), (3, 0, 'Cy', '', '', '863', 'CN', '', '', '');
INSERT INTO auth_users (auth_id, user_id, device_model, platform, system_version, app_name, app_version, ip, country,
  region) VALUES (-5, 1, 'phone', 'android', '7', 'app', '4.6', '', '', '');
INSERT INTO chats (id, creator_user_id, create_random_id, access_hash, participant_count, title, title_changer_user_id,
  title_change_random_id, avatar_changer_user_id, avatar_change_random_id, about)
  VALUES (1, 1, 11, 1, 2, 'Old chat', 1, 11, 1, 11, '');
INSERT INTO chat_users (chat_id, user_id, participant_type) VALUES (1, 1, 2), (1, 2, 0);
INSERT INTO messages (id, sender_user_id, peer_type, peer_id, random_id, message_type, message_data, date2)
  VALUES (1, 1, 2, 2, 21, 1, '{"message":"hello"}', 1512270000), (2, 1, 2, 2, 22, 1, '#a5 not JSON ü', 1512270001),
  (3, 1, 2, 2, 23, 1, '{"message":"nobody has it"}', 1512270002);
INSERT INTO message_boxes (user_id, sender_user_id, message_box_type, peer_type, peer_id, pts, message_id, state, date2)
  VALUES (1, 1, 1, 2, 2, 1, 1, 0, 1512270000), (2, 1, 0, 2, 1, 40, 1, 0, 1512270000),
  (1, 1, 1, 2, 2, 2, 2, 0, 1512270001), (2, 1, 0, 2, 1, 41, 2, 0, 1512270001);
INSERT INTO user_dialogs (user_id, peer_type, peer_id, top_message, unread_count, date2)
  VALUES (1, 2, 2, 2, 0, 1512270001), (2, 2, 1, 2, 2, 1512270001);
INSERT INTO seq_updates_ngen (seq_name, seq) VALUES ('1', 2), ('2', 41);
INSERT INTO devices (auth_id, user_id, token_type, token, state) VALUES (-5, 1, 2, 'old token', 2);
INSERT INTO user_notify_settings (user_id, peer_type, peer_id, silent) VALUES (1, 7, 0, 1);
INSERT INTO user_contacts (owner_user_id, contact_user_id, date2) VALUES (1, 2, 0);
INSERT INTO user_privacys (user_id, password, recovery_mail, ttl, ttl_created_at) VALUES (1, 'x', '', 180, 0);

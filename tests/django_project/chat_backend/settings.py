"""Settings of the chat backend of the tests, and of the shop beside it: sessions in signed cookies."""

import os

SECRET_KEY = "for tests only"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "chat_backend.urls"
WSGI_APPLICATION = "chat_backend.wsgi.application"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "shop.apps.ShopConfig"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
USE_TZ = True
LOGIN_URL = "/shop/log-in/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick, which is for tests only

# The chat backend needs no database; the shop has one where a test says so.
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SHOP_DATABASE", ":memory:")}}
CHAT_URL = os.environ.get("SHOP_CHAT_URL", "")
CHAT_API_KEY = os.environ.get("SHOP_CHAT_API_KEY", "")
CHAT_JWT_SECRET = os.environ.get("SHOP_CHAT_JWT_SECRET", "")

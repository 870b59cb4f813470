"""The routes of the chat API, of the shop and, under /control/, those that the tests steer it with."""

from django.urls import path
from shop import views as shop

from chat_backend import control, views

API = "quantum-goose-app/api"

urlpatterns = [
    path(f"{API}/llm/chat/", views.chat),
    path(f"{API}/chat/", views.chat_without_session_ids),
    path(f"{API}/llm/health/", views.health),
    path("shop/token/", shop.token),
    path("shop/whoami/", shop.whoami),
    path("shop/log-in/", shop.log_in),
    path("shop/log-out/", shop.log_out),
    path("shop/sign-up/", shop.sign_up),
    path("shop/order/", shop.order),
    path("control/release/<str:gate>/", control.release),
    path("control/report/", control.report),
]

"""The pages' side: logging in and out, a token or the session for hazoom_ws, an order."""

import time

import jwt
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from shop.models import Order


@login_required
def token(request):
    claims = {
        "sub": str(request.user.pk),
        "name": request.user.get_username(),
        "exp": int(time.time()) + 600,
        "rooms": rooms_of(request.user),
        "llm": request.user.is_staff,
    }
    return JsonResponse({"token": jwt.encode(claims, settings.CHAT_JWT_SECRET, algorithm="HS256")})


def rooms_of(user):
    return ["*"] if user.is_staff else ["general", "orders", f"user-{user.pk}-*"]


@csrf_exempt  # hazoom_ws asks, and sends no form
@require_POST
def whoami(request):
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    return JsonResponse(
        {
            "user_id": str(request.user.pk),
            "user_name": request.user.get_username(),
            "rooms": rooms_of(request.user),
            "llm": request.user.is_staff,
            "expires_at": request.session.get_expiry_date().timestamp(),
        }
    )


@require_POST
def log_in(request):
    user = auth.authenticate(request, username=request.POST["name"], password=request.POST["password"])
    if user is None:
        return HttpResponse(status=403)
    auth.login(request, user)
    return JsonResponse({"user_id": str(user.pk)})


@require_POST
def log_out(request):
    auth.logout(request)
    return JsonResponse({})


@require_POST
def order(request):
    return JsonResponse({"order": Order.objects.create(item=request.POST["item"]).pk})


@require_POST
def sign_up(request):
    is_staff = request.POST.get("staff") == "yes"
    auth.get_user_model().objects.create_user(request.POST["name"], password=request.POST["password"], is_staff=is_staff)
    return JsonResponse({})
